import {
  type EndpointSlice,
  type KubeClient,
  type KubeObject,
  resources,
  type ServiceExport,
} from "@sluice/kube";
import { podRangeOf } from "@sluice/kube-sandbox";
import { Backend } from "./backend.ts";

export const NAMESPACE = "shop";
const PORT = 8080;
const MANAGER = "chaos";

/** A pod of one service in one member, with a real HTTP server behind its address. */
export interface Pod {
  readonly name: string;
  readonly service: string;
  readonly cluster: string;
  readonly address: string;
  state: "ready" | "unready" | "ending" | "gone";
  /** Since when it may no longer answer, ms of performance.now(); kept when it may again. −∞: it always might. */
  lostAt: number;
  readonly backend: Backend;
}

interface Offer {
  readonly service: string;
  readonly cluster: string;
  exported: boolean;
  /** When its export was last withdrawn, ms of performance.now(). */
  unexportedAt: number;
  readonly pods: Set<Pod>;
  /** Writes to its slice, one after another. */
  writing: Promise<void>;
}

/** What the members are truly like: written to their APIs, and known here, so that what Sluice made of it can be judged. */
export class Members implements AsyncDisposable {
  readonly services: readonly string[];
  readonly clusters: readonly string[];
  readonly #clients: ReadonlyMap<string, KubeClient>;
  readonly #signal: AbortSignal;
  readonly #offers = new Map<string, Offer>();
  readonly #byAddress = new Map<string, Pod>();
  readonly #byName = new Map<string, Pod>();
  /** Status that every pod of this service answers instead of 200: a planted fault. */
  broken: string | null = null;
  #made = 0;
  #next = 0;

  constructor(clients: ReadonlyMap<string, KubeClient>, services: readonly string[], signal: AbortSignal) {
    this.#clients = clients;
    this.clusters = [...clients.keys()];
    this.services = services;
    this.#signal = signal;
  }

  client(cluster: string): KubeClient {
    const client = this.#clients.get(cluster);
    if (client === undefined) throw new Error(`there is no member ${cluster}`);
    return client;
  }

  /** Service and empty slice of every service in every member. */
  async prepare(): Promise<void> {
    for (const cluster of this.clusters) {
      for (const service of this.services) {
        await this.#apply(cluster, {
          apiVersion: "v1",
          kind: "Service",
          metadata: { name: service, namespace: NAMESPACE },
          spec: { ports: [{ name: "http", port: 80, targetPort: PORT }] },
        } as KubeObject);
        await this.#apply(cluster, {
          apiVersion: "discovery.k8s.io/v1",
          kind: "EndpointSlice",
          metadata: {
            name: sliceOf(service),
            namespace: NAMESPACE,
            labels: { "kubernetes.io/service-name": service },
          },
          addressType: "IPv4",
          ports: [{ name: "http", port: PORT, protocol: "TCP" }],
          endpoints: [],
        } as KubeObject);
        this.#offers.set(`${service}/${cluster}`, {
          service,
          cluster,
          exported: false,
          unexportedAt: -Infinity,
          pods: new Set(),
          writing: Promise.resolve(),
        });
      }
    }
  }

  async #apply(cluster: string, object: KubeObject): Promise<void> {
    await this.client(cluster).apply(object, { fieldManager: MANAGER, force: true }, this.#signal);
  }

  #offer(service: string, cluster: string): Offer {
    const offer = this.#offers.get(`${service}/${cluster}`);
    if (offer === undefined) throw new Error(`there is no ${service} in ${cluster}`);
    return offer;
  }

  exported(service: string, cluster: string): boolean {
    return this.#offer(service, cluster).exported;
  }

  pods(service: string, cluster: string): Pod[] {
    return [...this.#offer(service, cluster).pods];
  }

  podAt(address: string): Pod | undefined {
    return this.#byAddress.get(address);
  }

  named(name: string): Pod | undefined {
    return this.#byName.get(name);
  }

  /** Ready, in a member that exports its service. */
  mayAnswer(pod: Pod): boolean {
    return pod.state === "ready" && this.#offer(pod.service, pod.cluster).exported;
  }

  /** Pods that shall answer for a service, by member; members that export it and have none are left out. */
  expected(service: string): Map<string, Set<Pod>> {
    const all = new Map<string, Set<Pod>>();
    for (const cluster of this.clusters) {
      const pods = this.pods(service, cluster).filter((pod) => this.mayAnswer(pod));
      if (pods.length > 0) all.set(cluster, new Set(pods));
    }
    return all;
  }

  async export(service: string, cluster: string): Promise<void> {
    const offer = this.#offer(service, cluster);
    offer.exported = true;
    await this.#apply(cluster, {
      apiVersion: "multicluster.x-k8s.io/v1alpha1",
      kind: "ServiceExport",
      metadata: { name: service, namespace: NAMESPACE },
    } as ServiceExport);
  }

  async unexport(service: string, cluster: string): Promise<void> {
    const offer = this.#offer(service, cluster);
    const ref = { namespace: NAMESPACE, name: service };
    const lost = () => {
      offer.unexportedAt = performance.now();
      for (const pod of offer.pods) if (pod.state === "ready") pod.lostAt = offer.unexportedAt;
    };
    offer.exported = false;
    lost();
    await this.client(cluster).delete(resources.serviceExport, ref, {}, this.#signal);
    lost();
  }

  /** A pod that serves, and then is said to be ready. */
  async add(service: string, cluster: string): Promise<Pod> {
    const offer = this.#offer(service, cluster);
    this.#made++;
    const name = `${service}-${cluster}-${this.#made}`;
    const body = `${name}\n`;
    const backend = await this.#listen(cluster, () => [this.broken === service ? 500 : 200, body]);
    const { address } = backend;
    // While nobody has heard yet that the export is gone, a pod that comes after it may well be asked.
    const lostAt = offer.exported ? -Infinity : offer.unexportedAt;
    const pod: Pod = { name, service, cluster, address, state: "ready", lostAt, backend };
    this.#byAddress.set(address, pod);
    this.#byName.set(name, pod);
    offer.pods.add(pod);
    await this.#write(offer);
    return pod;
  }

  async #listen(cluster: string, answer: () => [number, string]): Promise<Backend> {
    const prefix = podRangeOf(this.clusters.indexOf(cluster) + 1)
      .split(".")
      .slice(0, 2)
      .join(".");
    for (let tried = 0; tried < 1000; tried++) {
      // Addresses are never used again within a world, and worlds of one machine begin elsewhere.
      const offset = (process.pid * 257 + this.#next++) % 60_000;
      const address = `${prefix}.${1 + Math.floor(offset / 250)}.${2 + (offset % 250)}`;
      const backend = await Backend.listen(address, PORT, answer);
      if (backend !== null) return backend;
    }
    throw new Error(`no address of ${cluster} is free`);
  }

  /** `ready: false`, or ready again. */
  async setReady(pod: Pod, ready: boolean): Promise<void> {
    if (!ready) pod.lostAt = performance.now();
    pod.state = ready ? "ready" : "unready";
    await this.#write(this.#offer(pod.service, pod.cluster));
    if (!ready) pod.lostAt = performance.now();
  }

  /** It is being deleted: no longer ready, and serves on. */
  async end(pod: Pod): Promise<void> {
    pod.lostAt = performance.now();
    pod.state = "ending";
    pod.backend.drain();
    await this.#write(this.#offer(pod.service, pod.cluster));
    pod.lostAt = performance.now();
  }

  /** It serves no more; its endpoint goes afterwards, as after a crash, or has gone before. */
  async close(pod: Pod): Promise<void> {
    pod.lostAt = performance.now();
    pod.state = "gone";
    await pod.backend.close();
  }

  /** The endpoints of pods that are over leave their slices. */
  async dropEndpoint(pod: Pod): Promise<void> {
    const offer = this.#offer(pod.service, pod.cluster);
    offer.pods.delete(pod);
    await this.#write(offer);
  }

  /** All that is on its way out is out, and whoever was not ready is again: the state that shall be seen in the end. */
  async settle(): Promise<void> {
    for (const offer of this.#offers.values()) {
      let changed = false;
      for (const pod of [...offer.pods]) {
        if (pod.state === "ready") continue;
        changed = true;
        if (pod.state === "unready") pod.state = "ready";
        else offer.pods.delete(pod);
      }
      if (changed) await this.#write(offer);
    }
  }

  /** Closes the servers of pods that are in no slice any more. */
  async forgetEnded(): Promise<void> {
    for (const pod of [...this.#byAddress.values()]) {
      if (this.#offer(pod.service, pod.cluster).pods.has(pod)) continue;
      if (pod.state !== "gone") await pod.backend.close();
      this.#byAddress.delete(pod.address);
      this.#byName.delete(pod.name);
    }
  }

  #write(offer: Offer): Promise<void> {
    const write = async () => {
      const endpoints = [...offer.pods].map((pod) => ({
        addresses: [pod.address],
        conditions: {
          ready: pod.state === "ready",
          serving: pod.state !== "unready",
          terminating: pod.state === "ending",
        },
      }));
      await this.client(offer.cluster).mergePatch<EndpointSlice>(
        resources.endpointSlice,
        { namespace: NAMESPACE, name: sliceOf(offer.service) },
        { endpoints },
        { fieldManager: MANAGER },
        this.#signal,
      );
    };
    const written = offer.writing.then(write);
    // Whoever asked hears of a failure; the next write says everything anyway.
    offer.writing = written.catch(() => {});
    return written;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(
      [...this.#byAddress.values()].filter((pod) => pod.state !== "gone").map((pod) => pod.backend.close()),
    );
  }
}

function sliceOf(service: string): string {
  return `${service}-1`;
}
