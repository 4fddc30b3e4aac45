import { type Clock, kubeTime, systemClock } from "./clock.ts";
import { watchDefinitions } from "./controllers/custom-resources.ts";
import { expireEvents } from "./controllers/event-expiry.ts";
import { watchOwners } from "./controllers/garbage-collector.ts";
import { FIRST_NAMESPACES, watchNamespaces } from "./controllers/namespaces.ts";
import { watchServices } from "./controllers/service-addresses.ts";
import { ApiServer } from "./http/api-server.ts";
import type { ApiFault, PodFault } from "./http/faults.ts";
import { Catalog } from "./kinds/catalog.ts";
import { AddressRange } from "./kinds/service.ts";
import { type Logger, silentLogger } from "./logger.ts";
import { plainOptions, type World } from "./registry/world.ts";
import { ObjectStore } from "./store/object-store.ts";

export interface ClusterOptions {
  name: string;
  /** 0 or absent: any free one. */
  port?: number;
  log?: Logger;
  /** For timestamps; real time when absent. */
  clock?: Clock;
}

export interface FaultChange {
  api?: ApiFault;
  pods?: PodFault;
  /** Delay of the `slow` fault in milliseconds; a second when absent. */
  slowMs?: number;
}

export interface SandboxCluster {
  readonly name: string;
  readonly url: string;
  /** Objects as they are stored, for tests in this process; writes here skip validation and defaults. */
  readonly store: ObjectStore;
  readonly faults: { api: ApiFault; pods: PodFault };
  /** A kubeconfig for this cluster, as an object. */
  kubeconfig(): object;
  setFault(change: FaultChange): Promise<void>;
  /** Calls `listener` with the present pod fault and at each change; the answer stops it. */
  onPodFault(listener: (fault: PodFault) => void): () => void;
  close(): Promise<void>;
}

/** Starts a Kubernetes API server with nothing in it but the usual namespaces. */
export async function startCluster(options: ClusterOptions): Promise<SandboxCluster> {
  const { name, port = 0, clock = systemClock, log = silentLogger } = options;
  const addresses = new AddressRange();
  const world: World = {
    name,
    store: new ObjectStore(),
    catalog: new Catalog(addresses),
    addresses,
    clock,
    log: log.child({ cluster: name }),
  };
  const stops = [
    watchDefinitions(world),
    watchNamespaces(world),
    watchOwners(world),
    watchServices(world),
    expireEvents(world),
  ];
  const server = new ApiServer(world);
  const namespaces = world.catalog.find("", "v1", "namespaces");
  for (const namespace of FIRST_NAMESPACES) {
    if (namespaces === undefined) break;
    const body = { apiVersion: "v1", kind: "Namespace", metadata: { name: namespace } };
    server.registry.create(namespaces, "", body, plainOptions("kube-apiserver"));
  }
  await server.listen(port);
  log.info({ cluster: name, url: server.url, at: kubeTime(clock) }, "sandbox cluster serves");
  const listeners = new Set<(fault: PodFault) => void>();
  let pods: PodFault = "none";
  return {
    name,
    url: server.url,
    store: world.store,
    get faults() {
      return { api: server.fault, pods };
    },
    kubeconfig: () => kubeconfigOf(name, server.url),
    async setFault(change) {
      if (change.pods !== undefined && change.pods !== pods) {
        pods = change.pods;
        for (const listener of listeners) listener(pods);
      }
      if (change.api !== undefined) await server.setFault(change.api, change.slowMs);
    },
    onPodFault(listener) {
      listeners.add(listener);
      listener(pods);
      return () => void listeners.delete(listener);
    },
    async close() {
      for (const stop of stops) stop();
      await server.close();
    },
  };
}

function kubeconfigOf(name: string, url: string): object {
  return {
    apiVersion: "v1",
    kind: "Config",
    "current-context": name,
    clusters: [{ name, cluster: { server: url } }],
    contexts: [{ name, context: { cluster: name, user: name, namespace: "default" } }],
    // No credentials: they would travel in the clear, and whoever can reach the port may do everything anyway.
    users: [{ name, user: {} }],
  };
}
