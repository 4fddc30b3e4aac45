import type { TestContext } from "node:test";
import type { Bus, PartHolder } from "@sluice/bus";
import { MemoryServer, memoryBus } from "@sluice/bus/testing";
import {
  type ClusterRecord,
  clustersTable,
  type FleetValue,
  fleetTable,
  newTrace,
  plainKeys,
  TOPOLOGY_PARTITIONS,
  type TopologyPeers,
  type TopologyService,
  type TopologyValue,
  topologyKeys,
  topologyTable,
} from "@sluice/contracts";
import { type MultiClusterIngress, resources, type ServiceImport } from "@sluice/kube";
import { createKit, type Logger } from "@sluice/service-kit";
import { runConfigRenderer } from "../config-renderer.ts";
import type { ConfigRendererOptions } from "../options.ts";
import { FakeHub } from "./fake-hub.ts";

const options: ConfigRendererOptions = {
  fleet: "default",
  ingressClasses: ["nginx"],
  watchWithoutClass: false,
  publishAddresses: ["192.0.2.10"],
  peers: { member1: ["10.1.0.0/16"] },
};

/** A renderer that runs until it is stopped. */
export interface Running {
  /** As ranks see it: 0 writes, 1 stands by. */
  readonly rank: number;
  /** As a scrape reads them. */
  metrics(): Promise<string>;
  stop(): Promise<void>;
}

export function startRenderer(
  server: MemoryServer,
  hub: FakeHub,
  more: Partial<ConfigRendererOptions> = {},
  log?: Logger,
): Running {
  const controller = new AbortController();
  const { signal } = controller;
  const kit = createKit({ service: "config-renderer", signal, ...(log === undefined ? {} : { log }) });
  const bus = memoryBus({ role: "config-renderer", signal: controller.signal, server, kit });
  // It outlives the order to stop until its fleet is handed over, as a process does.
  const done = runConfigRenderer({ bus, hub }, { ...options, ...more }, { ...kit, signal: bus.signal });
  return {
    metrics: () => kit.metrics.registry.metrics(),
    get rank() {
      return bus.rankOf(fleetTable, { scope: "default", shard: "" });
    },
    async stop() {
      controller.abort();
      await done;
    },
  };
}

/** Plays the aggregator: holds all partitions of `topology`. */
export class FakeAggregator {
  readonly #parts: readonly PartHolder<TopologyValue>[];
  readonly #controller = new AbortController();
  readonly #bus: Bus;

  constructor(server: MemoryServer) {
    this.#bus = memoryBus({ role: "aggregator", signal: this.#controller.signal, server });
    this.#parts = Array.from({ length: TOPOLOGY_PARTITIONS }, (_, shard) =>
      this.#bus.hold(topologyTable, { scope: "", shard: String(shard) }, { fresh: async () => {} }),
    );
  }

  get synced(): boolean {
    return this.#parts.every((part) => part.synced);
  }

  #part(namespace: string, service: string): PartHolder<TopologyValue> {
    const what = topologyKeys.classify(topologyKeys.service(namespace, service));
    if (what.kind !== "record") throw new Error("not a record");
    return this.#parts[
      Number(topologyKeys.shardOf(what.spread, TOPOLOGY_PARTITIONS))
    ] as PartHolder<TopologyValue>;
  }

  /** Addresses of member1's peers at port 8080, or null: no record. */
  peers(cluster: string, addresses: readonly string[] | null, service = "web"): void {
    const key = topologyKeys.peers("shop", service, cluster);
    const ports = { "": (addresses ?? []).map((address) => ({ address, port: 8080 })) };
    const record: TopologyPeers = { namespace: "shop", service, cluster, ports };
    if (addresses === null) this.#part("shop", service).remove(key);
    else this.#part("shop", service).set(key, record, newTrace(performance.timeOrigin + performance.now()));
  }

  exports(ports: TopologyService["ports"], service = "web"): void {
    this.#part("shop", service).set(topologyKeys.service("shop", service), {
      namespace: "shop",
      service,
      type: "ClusterSetIP",
      ports,
      clusters: ["member1"],
      conflicts: [],
    });
  }

  /** @param nodesListed its watcher knows whether it has Nodes */
  async cluster(record: Partial<ClusterRecord> & { cluster: string }, nodesListed = true): Promise<void> {
    const now = Date.now();
    await this.#bus.publish(clustersTable, plainKeys.cluster(record.cluster), {
      heartbeatAt: now,
      api: { reachable: true, since: now },
      labels: {},
      ...(nodesListed ? { nodeCidrs: [] } : {}),
      waiting: [],
      exports: 1,
      watcher: "w",
      ...record,
    });
  }

  async stop(): Promise<void> {
    this.#controller.abort();
    await Promise.all(this.#parts.map((part) => part.done));
  }
}

export interface Watcher {
  /** What a proxy believes, by key. */
  readonly rows: Map<string, FleetValue>;
  /** Keys in the order in which they came, `-key` for a removal. */
  readonly order: string[];
  get(key: string): unknown;
  readonly settled: boolean;
}

/** A reader of the fleet, as a proxy-agent is one. */
export function watchFleet(server: MemoryServer, signal: AbortSignal): Watcher {
  const bus = memoryBus({ role: "proxy-agent", signal, server });
  const rows = new Map<string, FleetValue>();
  const order: string[] = [];
  const view = bus.view(fleetTable, {
    onChange: (key, value) => {
      order.push(value === undefined ? `-${key}` : key);
      if (value === undefined) rows.delete(key);
      else rows.set(key, value);
    },
  });
  return {
    rows,
    order,
    get: (key) => rows.get(key),
    get settled() {
      return view.isSettled({ scope: "default", shard: "" });
    },
  };
}

export function addImport(hub: FakeHub, name = "web", annotations: Record<string, string> = {}): void {
  hub.put<ServiceImport>(resources.serviceImport, {
    metadata: { name, namespace: "shop", annotations },
    spec: { type: "ClusterSetIP", ports: [{ port: 80 }] },
  });
}

export function addIngress(hub: FakeHub, name = "shop", backend = "web", className = "nginx"): void {
  hub.put<MultiClusterIngress>(resources.multiClusterIngress, {
    metadata: { name, namespace: "shop", creationTimestamp: "2026-01-01T00:00:00Z" },
    spec: {
      ingressClassName: className,
      rules: [
        {
          host: `${name}.example.test`,
          http: {
            paths: [
              {
                path: "/",
                pathType: "Prefix",
                backend: { service: { name: backend, port: { number: 80 } } },
              },
            ],
          },
        },
      ],
    },
  });
}

/** A hub with one import, an aggregator that knows nothing, a reader of the fleet, and no renderer yet. */
export function importWorld(t: TestContext) {
  const server = new MemoryServer();
  const hub = new FakeHub();
  const aggregator = new FakeAggregator(server);
  const controller = new AbortController();
  const fleet = watchFleet(server, controller.signal);
  addImport(hub);
  t.after(async () => {
    controller.abort();
    await aggregator.stop();
  });
  return { server, hub, aggregator, fleet };
}

/** The same with one MCI, and one peer in member1. */
export function shopWorld(t: TestContext) {
  const given = importWorld(t);
  addIngress(given.hub);
  given.aggregator.exports([{ name: "", port: 80, protocol: "TCP" }]);
  given.aggregator.peers("member1", ["10.1.0.1"]);
  return given;
}
