import type { PartHolder, TableView } from "@sluice/bus";
import {
  type ClusterRecord,
  type ClusterSeen,
  decodeToken,
  type FleetCluster,
  type FleetValue,
  fleetKeys,
  type IntentRecord,
  newTrace,
  orderOf,
  type ProxyRecord,
  type ProxySeen,
  plainKeys,
  sawCluster,
  sawProxy,
  type TopologyPeers,
  type TopologyService,
  type TopologyValue,
  type Trace,
  topologyKeys,
} from "@sluice/contracts";
import { type FleetChanges, FleetModel } from "@sluice/ingress";
import type { IngressClass, MultiClusterIngress, ServiceImport } from "@sluice/kube";
import { type Kit, slept } from "@sluice/service-kit";
import { AdoptedFleet } from "./adopted-fleet.ts";
import { clusterRow } from "./cluster-rows.ts";
import { countVotes, judgeCluster } from "./cluster-states.ts";
import type { HubReporter } from "./hub-reporter.ts";
import type { HubSink, HubSource } from "./hub-source.ts";
import type { ConfigRendererOptions } from "./options.ts";
import { Wake } from "./wake.ts";

/** An upstream that no route uses goes this much later, ms: by then proxies have applied the routes without it. */
const REMOVAL_GRACE_MS = 2000;
/** How often it is asked whether peers are still in doubt, ms. */
const DOUBT_MS = 50;
/** Routes wait at most so long for the rows that they need, ms; proxies hold back a route whose upstream is missing. */
const STAGE_MS = 1000;
const TICK_MS = 1000;
/** Until the table is in order, so that readiness is told soon. */
const STARTING_TICK_MS = 50;

export interface RendererPorts {
  readonly holder: PartHolder<FleetValue>;
  readonly topology: TableView<TopologyValue>;
  readonly clusters: TableView<ClusterRecord>;
  readonly intents: TableView<IntentRecord>;
  /** Of this fleet. */
  readonly proxies: TableView<ProxyRecord>;
  readonly hub: HubSource;
  readonly reporter: HubReporter;
}

/** Below: what is written first and removed last when a new holder brings the table in order. */
export function rowOrder(key: string): number {
  return { profiles: 0, clusters: 0, upstreams: 1, peers: 2 }[key.split(".")[1] ?? ""] ?? 3;
}

/**
 * Everything between the tables and the hub on one side and the `fleet` on the other. An endpoint's way is
 * `topologyChanged` → `#renderPeers` → holder: nothing else runs on it.
 */
export class Renderer implements HubSink {
  readonly #options: ConfigRendererOptions;
  readonly #kit: Kit;
  readonly #model: FleetModel;
  readonly #adopted: AdoptedFleet;
  #ports: RendererPorts | undefined;

  /** Peers records by their key in `topology`, and those keys by service. */
  readonly #peers = new Map<string, TopologyPeers>();
  readonly #peersOf = new Map<string, Set<string>>();
  /** How many peers records each cluster has. */
  readonly #recordsOf = new Map<string, number>();
  readonly #exported = new Map<string, TopologyService>();
  readonly #seen = new Map<string, ClusterSeen>();
  /** By key in `proxies`. */
  readonly #proxies = new Map<string, ProxySeen>();
  /** null: the bus has not been there yet. */
  #wasConnected: boolean | null = null;

  /** Keys that the fleet shall have, but for adopted ones. */
  readonly #desired = new Set<string>();
  /** Peers rows that stand for what the table had before the hub was listed. */
  readonly #adoptedKeys = new Set<string>();
  /** Keys that the holder left alone because nothing was known of them yet: to be compared again. */
  readonly #refused = new Set<string>();
  /** Keys that the table lacks, because what is desired of them is in doubt. */
  readonly #unfilled = new Set<string>();
  /** Keys that were seen to go, whatever else is known: an observed removal needs no other knowledge. */
  readonly #gone = new Set<string>();
  /** Upstreams without a route, and when they go. */
  readonly #doomed = new Map<string, number>();
  readonly #peerKeysOf = new Map<string, Set<string>>();

  readonly #wake = new Wake();
  #dirty = false;
  #publishing = false;
  /** Routes have been made of a whole list of the hub at least once. */
  #published = false;
  #routeTrace: Trace | undefined;
  /** Sources that were read after the claim are in the desired state: the holder writes. */
  #current = false;

  constructor(options: ConfigRendererOptions, kit: Kit) {
    this.#options = options;
    this.#kit = kit;
    this.#model = new FleetModel(options);
    this.#adopted = new AdoptedFleet(options.fleet);
  }

  /** Wiring: the ports call back, so they exist after this. */
  attach(ports: RendererPorts): void {
    this.#ports = ports;
    this.#renderClusters();
    this.changed();
  }

  get #attached(): RendererPorts {
    if (this.#ports === undefined) throw new Error("not attached");
    return this.#ports;
  }

  // --- the way of an endpoint ----------------------------------------------------------------------------------------

  topologyChanged(key: string, value: TopologyValue | undefined, trace: Trace | undefined): void {
    if (key.endsWith("._service")) return this.#exportsChanged(key, value as TopologyService | undefined);
    const before = this.#peers.get(key);
    const record = value as TopologyPeers | undefined;
    if (record === undefined) {
      if (before === undefined) return;
      this.#peers.delete(key);
      this.#count(before.cluster, -1);
      const service = `${before.namespace}/${before.service}`;
      const keys = this.#peersOf.get(service);
      if (keys?.delete(key) && keys.size === 0) this.#peersOf.delete(service);
    } else {
      this.#peers.set(key, record);
      if (before === undefined) {
        this.#count(record.cluster, 1);
        const service = `${record.namespace}/${record.service}`;
        const keys = this.#peersOf.get(service);
        if (keys === undefined) this.#peersOf.set(service, new Set([key]));
        else keys.add(key);
      }
    }
    const shape = record ?? before;
    if (shape === undefined) return;
    this.#renderPeers(key, shape, trace);
  }

  #count(cluster: string, more: 1 | -1): void {
    const records = (this.#recordsOf.get(cluster) ?? 0) + more;
    if (records > 0) this.#recordsOf.set(cluster, records);
    else {
      this.#recordsOf.delete(cluster);
      this.#renderCluster(cluster);
    }
  }

  /** O(upstreams of that service): its rows in that one cluster. */
  #renderPeers(key: string, shape: TopologyPeers, trace?: Trace): void {
    const record = this.#peers.get(key);
    const { holder } = this.#attached;
    if (!this.#published) {
      for (const [rowKey, row] of this.#adopted.peerRows(record ?? shape)) {
        if (record === undefined) {
          this.#adoptedKeys.delete(rowKey);
          this.#remove(rowKey, trace);
        } else {
          this.#adoptedKeys.add(rowKey);
          holder.set(rowKey, row, trace);
        }
      }
    }
    for (const [rowKey, row] of this.#model.peerRows(record ?? shape)) {
      if (record !== undefined && row !== null) this.#set(rowKey, row, trace);
      else this.#remove(rowKey, trace);
    }
  }

  #renderService(service: string): void {
    for (const key of this.#peersOf.get(service) ?? [])
      this.#renderPeers(key, this.#peers.get(key) as TopologyPeers);
  }

  #exportsChanged(key: string, value: TopologyService | undefined): void {
    const known = value ?? this.#exported.get(key);
    if (known === undefined) return;
    if (value === undefined) this.#exported.delete(key);
    else this.#exported.set(key, value);
    const names = value === undefined ? null : new Set(value.ports.map((port) => port.name));
    if (this.#model.setExportedPorts(`${known.namespace}/${known.service}`, names)) this.#touch();
  }

  topologySettled(): void {
    this.#sweep();
    this.#wake.notify();
  }

  fleetChanged(key: string, row: FleetValue | undefined): void {
    if (this.#published) return;
    const service = this.#adopted.note(key, row);
    if (service !== null && this.#ports !== undefined) this.#renderService(service);
  }

  // --- clusters ------------------------------------------------------------------------------------------------------

  /** @param storedAt when the bus's server took it, by its own clock, ms since 1970 */
  clusterChanged(key: string, record: ClusterRecord | undefined, storedAt?: number): void {
    if (record === undefined) {
      const gone = [...this.#seen].find(([cluster]) => plainKeys.cluster(cluster) === key);
      if (gone === undefined) return;
      this.#seen.delete(gone[0]);
      this.#renderCluster(gone[0]);
      return;
    }
    const before = this.#seen.get(record.cluster);
    this.#seen.set(record.cluster, sawCluster(before, record, this.#kit.clock.now(), storedAt));
    this.#renderCluster(record.cluster);
    this.#wake.notify();
  }

  /** An order came or was taken back; there are few, so every cluster is looked at. */
  intentChanged(): void {
    this.#renderClusters();
    this.#sweep();
  }

  /** @param storedAt when the bus's server took it, by its own clock, ms since 1970 */
  proxyChanged(key: string, record: ProxyRecord | undefined, storedAt?: number): void {
    const before = this.#proxies.get(key);
    if (record === undefined) this.#proxies.delete(key);
    else this.#proxies.set(key, sawProxy(before, record, this.#kit.clock.now(), storedAt));
    // The ticker looks at all of them anyway; a verdict that changed does not wait for it.
    if (JSON.stringify(before?.record.clusters) !== JSON.stringify(record?.clusters)) this.#renderClusters();
  }

  #renderClusters(): void {
    if (this.#ports === undefined) return;
    const votesOn = countVotes(this.#proxies.values(), this.#kit.clock.now());
    const known = new Set([...this.#seen.keys(), ...Object.keys(this.#options.peers)]);
    const counts = { ok: 0, stale: 0, down: 0, drained: 0 };
    for (const cluster of known) {
      const state = this.#renderCluster(cluster, votesOn);
      if (state !== null) counts[state] += 1;
    }
    const gauge = this.#kit.metrics.gauge("sluice_clusters", "Clusters of the fleet by state.", ["state"]);
    for (const [state, n] of Object.entries(counts)) gauge.set({ state }, n);
  }

  /** @returns its state; null: it has no row of ours */
  #renderCluster(
    cluster: string,
    votesOn = countVotes(this.#proxies.values(), this.#kit.clock.now()),
  ): FleetCluster["state"] | null {
    if (this.#ports === undefined) return null;
    const { intents } = this.#ports;
    const key = fleetKeys.cluster(this.#options.fleet, cluster);
    const seen = this.#seen.get(cluster);
    const fromFlags = this.#options.peers[cluster] ?? [];
    const unjoined = orderOf(intents, "unjoin", cluster) !== undefined;
    // That its record was removed may have been lost with the bus; then it is gone once its last peers are.
    const gone = unjoined && (seen === undefined || !this.#recordsOf.has(cluster));
    if (gone || (seen === undefined && fromFlags.length === 0)) {
      this.#remove(key);
      return null;
    }
    // Where its peers may be has not been told since the bus was empty: the row that proxies have, or none, stands.
    if (seen !== undefined && seen.record.nodeCidrs === undefined && fromFlags.length === 0) return null;
    const drain = orderOf(intents, "drain", cluster);
    const judged = judgeCluster(seen, drain, votesOn(cluster), this.#kit.clock.now());
    this.#set(key, clusterRow(cluster, seen, fromFlags, judged));
    return judged.state;
  }

  // --- the hub -------------------------------------------------------------------------------------------------------

  ingress(key: string, object: MultiClusterIngress | null, seenAt: number | undefined): void {
    if (object === null) this.#model.removeIngress(key);
    else this.#model.setIngress(object);
    if (this.#published) this.#reportStatus(key, object);
    this.#touch(seenAt);
  }

  import(key: string, object: ServiceImport | null, seenAt: number | undefined): void {
    if (object === null) this.#model.removeImport(key);
    else this.#model.setImport(object);
    this.#touch(seenAt);
  }

  class(name: string, object: IngressClass | null): void {
    if (object === null) this.#model.removeClass(name);
    else this.#model.setClass(object);
    if (this.#published) this.#reportStatuses();
    this.#touch();
  }

  /** Not before everything has been listed: until then an MCI without class may look as if it were not ours. */
  #reportStatuses(): void {
    for (const [key, object] of this.#attached.hub.ingresses) this.#reportStatus(key, object);
  }

  #reportStatus(key: string, object: MultiClusterIngress | null): void {
    this.#attached.reporter.ingress(key, object, object !== null && this.#model.serves(key));
  }

  changed(): void {
    if (this.#ports === undefined) return;
    this.#kit.health.set("hub", this.#ports.hub.waiting);
    this.#sweep();
    this.#wake.notify();
  }

  #touch(seenAt?: number): void {
    if (seenAt !== undefined) this.#routeTrace = newTrace(seenAt);
    this.#dirty = true;
    this.#wake.notify();
  }

  // --- what the fleet shall be --------------------------------------------------------------------------------------

  /**
   * For the holder, after each claim: the desired state reflects sources that were read after it. With the hub away
   * it resolves all the same, so that peers go on being written; `knows` keeps what cannot be judged then.
   */
  async fresh(signal: AbortSignal, acted: ReadonlyMap<string, number> | null): Promise<void> {
    const { topology, clusters, intents, proxies, hub } = this.#attached;
    this.#gone.clear();
    this.#current = false;
    await Promise.all([
      topology.upToDate(signal),
      clusters.caughtUp(signal),
      intents.caughtUp(signal),
      proxies.caughtUp(signal),
      hub.refresh(acted, signal),
    ]);
    const routesDone = () => !hub.listed || (this.#published && !this.#dirty && !this.#publishing);
    await this.#wake.until(routesDone, signal);
    this.#current = true;
    // What came while another renderer held the fleet was not written to the hub.
    if (this.#published) this.#reportStatuses();
  }

  /** For the holder, before each claim: everything has been read once, or cannot be for now. */
  async warm(signal: AbortSignal): Promise<void> {
    const { topology, clusters, intents, proxies, hub } = this.#attached;
    const tables = [topology, clusters, intents, proxies].map((view) => view.caughtUp(signal));
    await Promise.all([...tables, hub.warm(signal)]);
  }

  /** For the holder: resolves when `knows` is true of every key that there may be. */
  async complete(signal: AbortSignal): Promise<void> {
    const unknown = this.#unknown();
    if (unknown !== null) {
      this.#kit.log.info({ unknown }, "rows that nothing asks for stay, until this is known");
    }
    await this.#wake.until(() => this.#unknown() === null, signal);
    // What is being asked for is soon known; until then a row that is missing for it would look as if it were gone.
    const wanted = (key: string) => this.#desired.has(key) || this.#adoptedKeys.has(key);
    while ([...this.#unfilled].some((key) => wanted(key) && this.#isDoubtful(key))) {
      await slept(this.#kit.clock, DOUBT_MS, signal);
      signal.throwIfAborted();
    }
    this.#unfilled.clear();
  }

  /** Why some of the table's rows cannot be judged yet; null: all can. */
  #unknown(): string | null {
    if (!this.#hubKnown) return "what the hub holds";
    const { topology } = this.#attached;
    for (let n = 0; n < topologyKeys.defaultShards; n += 1) {
      if (!topology.isSettled({ scope: "", shard: String(n) })) return "the whole of topology";
    }
    for (const cluster of this.#recordsOf.keys())
      if (!this.#knowsCluster(cluster)) return `cluster ${cluster}`;
    return null;
  }

  #knowsCluster(cluster: string): boolean {
    return this.#seen.has(cluster) || this.#options.peers[cluster] !== undefined;
  }

  /** For the holder: whether what is wanted of a key, or that it is not wanted, is knowledge. */
  knows(key: string): boolean {
    const known =
      !this.#isDoubtful(key) &&
      (this.#gone.has(key) ||
        this.#adoptedKeys.has(key) ||
        (this.#desired.has(key) ? this.#knowsValue(key) : this.#judge(key)));
    if (!known) this.#refused.add(key);
    return known;
  }

  /** For the holder: whether an empty place may have what is desired of it. */
  fills(key: string): boolean {
    if (!this.#isDoubtful(key)) return true;
    this.#refused.add(key);
    this.#unfilled.add(key);
    return false;
  }

  /** Peers that are made of a record which may be older than the one that the table's row was made of. */
  #isDoubtful(key: string): boolean {
    const { topology } = this.#attached;
    if (rowOrder(key) !== 2) return false;
    const [, , id = "", cluster = ""] = key.split(".");
    // In its grace nobody follows what becomes of its peers.
    if (this.#doomed.has(id) && !this.#model.hasUpstream(id)) return true;
    if (topology.doubts === 0) return false;
    const service = this.#model.serviceOf(id);
    if (service === undefined) return false;
    const [namespace = "", name = ""] = service.split("/");
    return topology.isDoubtful(topologyKeys.peers(namespace, name, cluster));
  }

  /** Peers and clusters come from the bus alone; the rest is the hub's, as it was when it was last listed. */
  #knowsValue(key: string): boolean {
    return rowOrder(key) === 2 || key.split(".")[1] === "clusters" || this.#attached.hub.fresh;
  }

  /** The hub has been listed since the claim, and the rows made of it are what is desired. */
  get #hubKnown(): boolean {
    return this.#attached.hub.fresh && this.#published && !this.#dirty && !this.#publishing;
  }

  /** Whether a key that nothing desires is known to be unwanted. */
  #judge(key: string): boolean {
    const [, kind, id] = key.split(".");
    // Clusters are a plain table: an empty one may just have been lost with its server. Only an unjoin that was seen,
    // or that stands in `intents`, removes.
    if (kind === "clusters") return this.#attached.intents.get(`unjoin.${id ?? ""}`) !== undefined;
    if (!this.#hubKnown) return false;
    if (kind !== "peers") return true;
    const service = this.#model.serviceOf(id ?? "");
    if (service === undefined) return true;
    const [namespace = "", name = ""] = service.split("/");
    const what = topologyKeys.classify(topologyKeys.service(namespace, name));
    if (what.kind !== "record") return false;
    const shard = topologyKeys.shardOf(what.spread, topologyKeys.defaultShards);
    const { topology } = this.#attached;
    for (const unread of topology.unreadable) if (unread.startsWith(`${what.spread}.`)) return false;
    return topology.isSettled({ scope: "", shard });
  }

  /** Knowledge may have grown: rows that were left alone for want of it are compared again. */
  #sweep(): void {
    if (this.#refused.size === 0 || this.#ports === undefined) return;
    const refused = [...this.#refused];
    this.#refused.clear();
    if (refused.filter((key) => this.knows(key)).length > 0) this.#ports.holder.recheck();
  }

  #set(key: string, row: FleetValue, trace?: Trace): void {
    this.#desired.add(key);
    this.#gone.delete(key);
    if (key.split(".")[1] === "peers") {
      const id = key.split(".")[2] as string;
      const keys = this.#peerKeysOf.get(id);
      if (keys === undefined) this.#peerKeysOf.set(id, new Set([key]));
      else keys.add(key);
    }
    if (trace !== undefined) this.#kit.log.debug({ trace: trace.id, key }, "fleet");
    this.#attached.holder.set(key, row, trace);
  }

  #remove(key: string, trace?: Trace): void {
    this.#desired.delete(key);
    this.#gone.add(key);
    const id = key.split(".")[2] as string;
    const keys = this.#peerKeysOf.get(id);
    if (keys?.delete(key) && keys.size === 0) this.#peerKeysOf.delete(id);
    if (trace !== undefined) this.#kit.log.debug({ trace: trace.id, key }, "fleet, removed");
    this.#attached.holder.remove(key, trace);
  }

  // --- loops ---------------------------------------------------------------------------------------------------------

  /** Brings routes up to date, one settling after the other, until the signal aborts. */
  async publish(signal: AbortSignal): Promise<void> {
    const { hub } = this.#attached;
    while (!signal.aborted) {
      await this.#wake.until(() => hub.listed && (this.#dirty || !this.#published), signal).catch(() => {});
      if (signal.aborted) return;
      this.#publishing = true;
      // One turn of the loop, so that objects which come together are settled together.
      await new Promise<void>((resolve) => setImmediate(resolve));
      this.#dirty = false;
      const trace = this.#routeTrace;
      this.#routeTrace = undefined;
      await this.#write(this.#model.settle(), trace, signal);
      const first = !this.#published;
      this.#published = true;
      this.#publishing = false;
      if (first) {
        this.#adopted.forget();
        for (const key of this.#adoptedKeys) if (!this.#desired.has(key)) this.#attached.holder.remove(key);
        this.#adoptedKeys.clear();
        this.#reportStatuses();
      }
      this.#sweep();
      this.#wake.notify();
    }
  }

  /** Make before break: what routes need, then routes; what nothing needs any more goes later, by the ticker. */
  async #write(changes: FleetChanges, trace: Trace | undefined, signal: AbortSignal): Promise<void> {
    const doom = (dueAt: number) => {
      for (const { id } of changes.removedUpstreams) this.#doomed.set(id, dueAt);
    };
    doom(Number.POSITIVE_INFINITY);
    const routes: [string, FleetValue | null][] = [];
    let needed = 0;
    for (const [key, row] of changes.rows) {
      if (rowOrder(key) === 3) routes.push([key, row]);
      else if (row !== null) {
        this.#set(key, row, trace);
        if (rowOrder(key) === 1) this.#comesBack(key.split(".")[2] as string);
        needed += 1;
      }
    }
    for (const service of changes.services) this.#renderService(service);
    if (needed > 0 && routes.length > 0) await this.#written(signal);
    for (const [key, row] of routes) {
      if (row === null) this.#remove(key, trace);
      else this.#set(key, row, trace);
    }
    doom(this.#kit.clock.monotonic() + REMOVAL_GRACE_MS);
    this.#attached.reporter.verdicts(changes.verdicts);
  }

  /** An upstream whose grace is not over may have lost peers while nobody asked for it. */
  #comesBack(id: string): void {
    const service = this.#model.serviceOf(id);
    if (service === undefined) return;
    const [namespace = "", name = ""] = service.split("/");
    for (const key of [...(this.#peerKeysOf.get(id) ?? [])]) {
      const cluster = decodeToken(key.split(".")[3] ?? "");
      if (cluster !== null && !this.#peers.has(topologyKeys.peers(namespace, name, cluster)))
        this.#remove(key);
    }
  }

  async #written(signal: AbortSignal): Promise<void> {
    const over = new AbortController();
    const limit = slept(this.#kit.clock, STAGE_MS, AbortSignal.any([signal, over.signal]));
    await Promise.race([this.#attached.holder.idle(), limit]);
    over.abort();
    await limit;
  }

  /** What time alone changes: clusters that fall silent, upstreams whose grace is over. */
  async tick(signal: AbortSignal): Promise<void> {
    const { clock, health } = this.#kit;
    const { holder, clusters } = this.#attached;
    for (let ready = false; await slept(clock, ready ? TICK_MS : STARTING_TICK_MS, signal); ) {
      // Whoever stands by is ready to.
      ready = holder.holding ? this.#current : holder.rank > 0;
      health.set("fleet", ready ? null : "it does not hold the fleet's rows yet");
      this.#judgeClusters(clusters.connected);
      this.#sweep();
      for (const [id, dueAt] of this.#doomed) {
        const back = this.#model.hasUpstream(id);
        if (!back && clock.monotonic() < dueAt) continue;
        this.#doomed.delete(id);
        if (back) continue;
        for (const key of [...(this.#peerKeysOf.get(id) ?? [])]) this.#remove(key);
        this.#remove(fleetKeys.upstream(this.#options.fleet, id));
      }
      for (const key of this.#gone) if (this.#judge(key)) this.#gone.delete(key);
    }
  }

  /** While the bus is away no heartbeat can come, which says nothing of the clusters. */
  #judgeClusters(connected: boolean): void {
    const now = this.#kit.clock.now();
    if (connected && this.#wasConnected === false) {
      for (const [cluster, seen] of this.#seen) this.#seen.set(cluster, { ...seen, heardAt: now });
      for (const [key, seen] of this.#proxies) this.#proxies.set(key, { ...seen, heardAt: now });
    }
    if (connected || this.#wasConnected !== null) this.#wasConnected = connected;
    if (connected) this.#renderClusters();
  }
}
