import { type AggregateOptions, runAggregator } from "@sluice/aggregator";
import type { Bus, TableView } from "@sluice/bus";
import { MemoryServer, memoryBus, type Store } from "@sluice/bus/testing";
import {
  BusUnreachableError,
  type ClusterRecord,
  clustersTable,
  type SliceValue,
  slicesTable,
  type TableSpec,
  type TopologyPeers,
  type TopologyValue,
  topologyKeys,
  topologyTable,
} from "@sluice/contracts";
import {
  connectCluster,
  type EndpointSlice,
  type KubeClient,
  type KubeObject,
  resources,
  type ServiceExport,
} from "@sluice/kube";
import { type SandboxCluster, startCluster } from "@sluice/kube-sandbox";
import { runMemberWatcher } from "@sluice/member-watcher";
import { createKit } from "@sluice/service-kit";
import { applyFile, eventually } from "./clusters.ts";

/** A bus in memory whose clients can be cut off and let back. */
class Cable extends MemoryServer {
  #cut = false;
  #changed = Promise.withResolvers<void>();

  set severed(cut: boolean) {
    this.#cut = cut;
    this.#changed.resolve();
    this.#changed = Promise.withResolvers<void>();
  }

  override connect(): Store {
    const inner = super.connect();
    const reached = async <T>(call: () => Promise<T>): Promise<T> => {
      if (this.#cut) throw new BusUnreachableError("the cable is cut");
      return call();
    };
    return {
      get connected() {
        return inner.connected;
      },
      get: (spec, key, signal) => reached(() => inner.get(spec, key, signal)),
      put: (spec, key, value, expected, signal) =>
        reached(() => inner.put(spec, key, value, expected, signal)),
      removeMessage: (spec, revision, signal) => reached(() => inner.removeMessage(spec, revision, signal)),
      lastRevision: (spec, signal, filter) => reached(() => inner.lastRevision(spec, signal, filter)),
      boot: (signal) => reached(() => inner.boot(signal)),
      follow: async (spec, filter, sink, signal) => {
        const ended = new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve()));
        while (!signal.aborted) {
          const turn = new AbortController();
          const changed = this.#changed.promise;
          const following = this.#cut
            ? Promise.resolve()
            : inner.follow(spec, filter, sink, AbortSignal.any([signal, turn.signal]));
          await Promise.race([changed, ended]);
          turn.abort(new Error("the cable was touched"));
          await following;
          sink.disconnected();
        }
      },
      close: () => inner.close(),
    };
  }
}

/** A running service and its end. */
export type Stop = () => Promise<void>;

/** A hub, members and a bus in memory, and the two services between them, started and stopped one by one. */
export class Stage implements AsyncDisposable {
  readonly server = new Cable();
  readonly signal: AbortSignal;
  readonly #clients = new Map<string, KubeClient>();
  readonly #clusters = new Map<string, SandboxCluster>();
  readonly #stops = new Set<Stop>();
  readonly #ending = new AbortController();
  readonly #reading: Promise<void>[] = [];
  readonly #bus: Bus;
  readonly slices: TableView<SliceValue>;
  readonly topology: TableView<TopologyValue>;
  readonly clusters: TableView<ClusterRecord>;
  /** Every change of `topology` that a reader was told, as `key=ports` or `key gone`. */
  readonly told: string[] = [];

  private constructor() {
    this.signal = this.#ending.signal;
    this.#bus = memoryBus({ role: "test", signal: this.signal, server: this.server });
    this.slices = this.#view(slicesTable);
    this.clusters = this.#view(clustersTable);
    this.topology = this.#bus.view(topologyTable, {
      onChange: (key, value) => this.told.push(value === undefined ? `${key} gone` : key),
    });
    this.#reading.push(this.topology.done);
  }

  /** With the CRDs of exports in every member unless told otherwise, and those of imports in the hub. */
  static async start(names: readonly string[], options: { readonly crds?: boolean } = {}): Promise<Stage> {
    const stage = new Stage();
    for (const name of names) {
      const cluster = await startCluster({ name });
      stage.#clusters.set(name, cluster);
      stage.#clients.set(name, await connectCluster({ name, kubeconfig: cluster.kubeconfig() }));
      if (name === "hub") await stage.crd(name, "serviceimports");
      else if (options.crds ?? true) await stage.crd(name, "serviceexports");
      await stage.apply(name, { apiVersion: "v1", kind: "Namespace", metadata: { name: "shop" } });
    }
    return stage;
  }

  #view<T>(spec: TableSpec<T>): TableView<T> {
    const view = this.#bus.view(spec);
    this.#reading.push(view.done);
    return view;
  }

  get bus(): Bus {
    return this.#bus;
  }

  client(name: string): KubeClient {
    return this.#clients.get(name)!;
  }

  cluster(name: string): SandboxCluster {
    return this.#clusters.get(name)!;
  }

  async crd(name: string, plural: "serviceexports" | "serviceimports"): Promise<void> {
    await applyFile(this.client(name), `deploy/crds/multicluster.x-k8s.io_${plural}.yaml`, this.signal);
  }

  async apply<T extends KubeObject>(name: string, object: T): Promise<T> {
    // A kind may come into service a moment after its CRD.
    return eventually(`${object.kind} ${object.metadata.name} in ${name}`, () =>
      this.client(name).apply(object, { fieldManager: "test", force: true }, this.signal),
    );
  }

  #run(start: (signal: AbortSignal) => Promise<void>): Stop {
    const stopping = new AbortController();
    const done = start(AbortSignal.any([this.signal, stopping.signal]));
    const stop = async () => {
      this.#stops.delete(stop);
      stopping.abort(new Error("stopped"));
      await done;
    };
    this.#stops.add(stop);
    return stop;
  }

  /** @param client another cluster's, as with a kubeconfig that was mixed up */
  watcher(name: string, client = this.client(name)): Stop {
    return this.#run((signal) => {
      const kit = createKit({ service: "member-watcher", signal });
      const bus = memoryBus({ role: "member-watcher", signal, server: this.server, kit });
      return runMemberWatcher({ bus, members: [client] }, kit);
    });
  }

  aggregator(options: Partial<AggregateOptions> = {}): Stop {
    return this.#run((signal) => {
      const kit = createKit({ service: "aggregator", signal });
      const bus = memoryBus({ role: "aggregator", signal, server: this.server, kit });
      const hub = this.#clients.get("hub") ?? null;
      return runAggregator({ bus, hub }, { members: [], peers: new Map(), refused: [], ...options }, kit);
    });
  }

  /** A Node, so that peers in `10.<n>.0.0/16` are allowed. */
  async node(name: string, n: number): Promise<void> {
    await this.apply(name, {
      apiVersion: "v1",
      kind: "Node",
      metadata: { name: "node-a" },
      spec: { podCIDR: `10.${n}.0.0/16` },
    } as KubeObject);
  }

  async service(name: string, service = "cart"): Promise<void> {
    await this.apply(name, {
      apiVersion: "v1",
      kind: "Service",
      metadata: { name: service, namespace: "shop" },
      spec: { ports: [{ port: 80 }] },
    } as KubeObject);
  }

  async endpoints(name: string, addresses: readonly string[], slice = "cart-1", service = "cart") {
    await this.apply<EndpointSlice>(name, {
      apiVersion: "discovery.k8s.io/v1",
      kind: "EndpointSlice",
      metadata: { name: slice, namespace: "shop", labels: { "kubernetes.io/service-name": service } },
      addressType: addresses.some((address) => address.includes(":")) ? "IPv6" : "IPv4",
      ports: [{ name: "", port: 8080, protocol: "TCP" }],
      endpoints: addresses.map((address) => ({ addresses: [address], conditions: { ready: true } })),
    });
  }

  async export(name: string, service = "cart"): Promise<void> {
    await this.apply(name, {
      apiVersion: "multicluster.x-k8s.io/v1alpha1",
      kind: "ServiceExport",
      metadata: { name: service, namespace: "shop" },
    });
  }

  /** shop/cart with one peer, in a member whose name ends in a number, and a Node that allows that peer. */
  async exportCart(name: string): Promise<void> {
    const n = Number(name.replace(/^\D+/, ""));
    await this.node(name, n);
    await this.service(name);
    await this.endpoints(name, [`10.${n}.0.1`]);
    await this.export(name);
  }

  async unexport(name: string, service = "cart"): Promise<void> {
    const ref = { namespace: "shop", name: service };
    await this.client(name).delete(resources.serviceExport, ref, {}, this.signal);
  }

  async conditions(name: string, service = "cart"): Promise<Record<string, string>> {
    const ref = { namespace: "shop", name: service };
    const found = await this.client(name).get<ServiceExport>(resources.serviceExport, ref, this.signal);
    const said = found?.status?.conditions ?? [];
    return Object.fromEntries(said.map(({ type, status, reason }) => [type, `${status} ${reason}`]));
  }

  /** What a reader of `topology` believes of a cluster's peers of shop/cart; null: there is no row. */
  peers(name: string, service = "cart"): string[] | null {
    const row = this.topology.get(topologyKeys.peers("shop", service, name)) as TopologyPeers | undefined;
    return row === undefined
      ? null
      : Object.values(row.ports).flatMap((peers) => peers.map((p) => p.address));
  }

  async hasPeers(name: string, expected: readonly string[] | null): Promise<void> {
    const want = JSON.stringify(expected);
    await eventually(`peers of ${name}: ${want}`, async () => JSON.stringify(this.peers(name)) === want);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const name of this.#clusters.keys()) await this.cluster(name).setFault({ api: "none" });
    for (const stop of [...this.#stops]) await stop();
    this.#ending.abort(new Error("the test is over"));
    await Promise.all(this.#reading);
    for (const client of this.#clients.values()) client.close();
    for (const cluster of this.#clusters.values()) await cluster.close();
  }
}
