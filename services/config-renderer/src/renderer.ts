import type { PartHolder, TableView } from "@sluice/bus";
import {
  type ClusterRecord,
  type FleetValue,
  type IntentRecord,
  newTrace,
  type ProxyRecord,
  type RolloutRow,
  type SecretRow,
  type TopologyPeers,
  type TopologyService,
  type TopologyValue,
  type Trace,
  topologyKeys,
} from "@sluice/contracts";
import { type FleetChanges, FleetModel } from "@sluice/ingress";
import type { ConfigMap, IngressClass, KubeClient, MultiClusterIngress, ServiceImport } from "@sluice/kube";
import { type Kit, slept } from "@sluice/service-kit";
import { AdoptedFleet } from "./adopted-fleet.ts";
import { FleetClusters } from "./fleet-clusters.ts";
import { FleetRollout } from "./fleet-rollout.ts";
import { FleetRows, rowOrder } from "./fleet-rows.ts";
import type { HubReporter } from "./hub-reporter.ts";
import { HubSecrets } from "./hub-secrets.ts";
import type { HubSink, HubSource } from "./hub-source.ts";
import { NamedConfigMaps } from "./named-config-maps.ts";
import type { ConfigRendererOptions } from "./options.ts";
import { Wake } from "./wake.ts";

/** An upstream that no route uses goes this much later, ms: by then proxies have applied the routes without it. */
const REMOVAL_GRACE_MS = 2000;
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
  /** Of this fleet, as its proxies see it. */
  readonly fleet: TableView<FleetValue>;
  readonly hub: HubSource;
  readonly reporter: HubReporter;
  /** Where Secrets are read, if the fleet has a key to seal them for, and ConfigMaps. */
  readonly client: KubeClient;
}

/**
 * Everything between the tables and the hub on one side and the `fleet` on the other. An endpoint's way is
 * `topologyChanged` → `#renderPeers` → holder: nothing else runs on it.
 */
export class Renderer implements HubSink {
  readonly #kit: Kit;
  readonly #model: FleetModel;
  readonly #adopted: AdoptedFleet;
  readonly #rows: FleetRows;
  readonly #clusters: FleetClusters;
  readonly #rollout: FleetRollout;
  readonly #options: ConfigRendererOptions;
  #ports: RendererPorts | undefined;
  #secrets: HubSecrets | null = null;
  #configMaps: NamedConfigMaps | undefined;

  /** Peers records by their key in `topology`, and those keys by service. */
  readonly #peers = new Map<string, TopologyPeers>();
  readonly #peersOf = new Map<string, Set<string>>();
  readonly #exported = new Map<string, TopologyService>();
  readonly #wake = new Wake();
  #dirty = false;
  #publishing = false;
  /** Routes have been made of a whole list of the hub at least once. */
  #published = false;
  #routeTrace: Trace | undefined;
  /** Sources that were read after the claim are in the desired state: the holder writes. */
  #current = false;

  constructor(options: ConfigRendererOptions, kit: Kit) {
    this.#kit = kit;
    this.#options = options;
    this.#model = new FleetModel({ ...options, servesTls: (options.fleetKey ?? null) !== null });
    this.#adopted = new AdoptedFleet(options.fleet);
    this.#rows = new FleetRows(options.fleet, this.#model, () => this.#routesSettled, kit);
    this.#clusters = new FleetClusters(options, this.#rows, kit);
    this.#rollout = new FleetRollout(options.fleet, this.#rows, kit);
  }

  /** Wiring: the ports call back, so they exist after this. */
  attach(ports: RendererPorts): void {
    this.#ports = ports;
    const { fleet, fleetKey: key = null } = this.#options;
    const shared = { fleet, model: this.#model, rows: this.#rows, changed: (at?: number) => this.#touch(at) };
    if (key !== null) this.#secrets = new HubSecrets(ports.client, { ...shared, key }, this.#kit);
    this.#configMaps = new NamedConfigMaps(
      ports.client,
      (name, object, seenAt) => {
        this.#model.setConfigMap(name, object);
        this.#touch(seenAt);
      },
      this.#kit,
    );
    this.#rows.attach({ ...ports, secrets: this.#secrets });
    this.#clusters.attach(ports.intents);
    this.#clusters.renderAll();
    this.#rollout.attach();
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
      this.#clusters.count(before.cluster, -1);
      const service = `${before.namespace}/${before.service}`;
      const keys = this.#peersOf.get(service);
      if (keys?.delete(key) && keys.size === 0) this.#peersOf.delete(service);
    } else {
      this.#peers.set(key, record);
      if (before === undefined) {
        this.#clusters.count(record.cluster, 1);
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

  /** O(upstreams of that service): its rows in that one cluster. */
  #renderPeers(key: string, shape: TopologyPeers, trace?: Trace): void {
    const record = this.#peers.get(key);
    if (!this.#published) {
      for (const [rowKey, row] of this.#adopted.peerRows(record ?? shape)) {
        if (record === undefined) this.#rows.orphan(rowKey, trace);
        else this.#rows.adopt(rowKey, row, trace);
      }
    }
    for (const [rowKey, row] of this.#model.peerRows(record ?? shape)) {
      if (record !== undefined && row !== null) this.#rows.set(rowKey, row, trace);
      else this.#rows.remove(rowKey, trace);
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
    this.#rows.sweep();
    this.#wake.notify();
  }

  fleetChanged(key: string, row: FleetValue | undefined): void {
    if (key.split(".")[1] === "rollout") return this.#orderRead(row as RolloutRow | undefined);
    if (key.split(".")[1] === "secrets") {
      this.#secrets?.noted(key, row as SecretRow | undefined, this.#attached.holder.holding);
      return;
    }
    if (this.#published) return;
    const service = this.#adopted.note(key, row);
    if (service !== null && this.#ports !== undefined) this.#renderService(service);
  }

  // --- clusters ------------------------------------------------------------------------------------------------------

  /** @param storedAt when the bus's server took it, by its own clock, ms since 1970 */
  clusterChanged(key: string, record: ClusterRecord | undefined, storedAt?: number): void {
    this.#clusters.changed(key, record, storedAt);
    if (record !== undefined) this.#wake.notify();
  }

  /** An order came or was taken back; there are few, so every cluster is looked at. */
  intentChanged(): void {
    this.#clusters.renderAll();
    this.#rows.sweep();
  }

  /** @param storedAt when the bus's server took it, by its own clock, ms since 1970 */
  proxyChanged(key: string, record: ProxyRecord | undefined, storedAt?: number): void {
    this.#clusters.proxyChanged(key, record, storedAt);
    this.#rollout.proxyChanged(key, record, storedAt);
    this.#rollOut();
  }

  proxiesReadAnew(): void {
    this.#rollout.listensAnew();
  }

  // --- which proxy runs which profiles ------------------------------------------------------------------------------

  /** One that is gone is gone with the table: the proxies' next order goes on from the last one. */
  #orderRead(row: RolloutRow | undefined): void {
    if (row === undefined) return;
    this.#rollout.adopt(row);
    this.#refuse();
  }

  /** Only who holds the fleet, and knows the hub as it is, gives orders. */
  #rollOut(): void {
    const ports = this.#ports;
    if (ports === undefined || !ports.holder.holding || !ports.proxies.connected) return;
    if (!this.#current || !this.#rows.hubKnown) return;
    if (this.#rollout.advance(this.#model.profiles(), this.#model.settings())) this.#refuse();
  }

  /** Objects whose profile has been refused are served otherwise; of settings the ConfigMap is told. */
  #refuse(): void {
    const { refused, refusedSettings } = this.#rollout;
    const news = [this.#model.refuseProfiles(refused), this.#model.refuseSettings(refusedSettings)];
    if (news.includes(true)) this.#touch();
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

  config(object: ConfigMap | null): void {
    this.#model.setConfig(object);
    this.#touch();
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
    this.#rows.sweep();
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
    const { topology, clusters, intents, proxies, fleet, hub } = this.#attached;
    this.#rows.claimed();
    this.#secrets?.claimed(acted, signal);
    this.#current = false;
    await Promise.all([
      topology.upToDate(signal),
      clusters.caughtUp(signal),
      intents.caughtUp(signal),
      proxies.caughtUp(signal),
      // The order of rollout goes on from where the last holder left it.
      fleet.upToDate(signal),
      hub.refresh(acted, signal),
      this.#configMaps?.refresh(signal),
    ]);
    await this.#wake.until(() => !hub.listed || this.#routesSettled, signal);
    this.#rows.endGrace();
    this.#secrets?.current();
    this.#current = true;
    this.#rollOut();
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
    // A member's record lies there before its slices are whole, and those before `topology` is.
    await this.#attached.clusters.upToDate(signal);
    // What is being asked for is soon known; until then a row that is missing for it would look as if it were gone.
    await this.#rows.undoubted(signal);
    await this.#secrets?.complete(signal);
  }

  /** Why some of the table's rows cannot be judged yet; null: all can. */
  #unknown(): string | null {
    if (!this.#rows.hubKnown) return "what the hub holds";
    if (!this.#rollout.given) return "which proxy runs which profiles";
    const { topology } = this.#attached;
    for (let n = 0; n < topologyKeys.defaultShards; n += 1) {
      if (!topology.isSettled({ scope: "", shard: String(n) })) return "the whole of topology";
    }
    const { unknown } = this.#clusters;
    return unknown === undefined ? null : `cluster ${unknown}`;
  }

  knows(key: string): boolean {
    return this.#rows.knows(key);
  }

  fills(key: string): boolean {
    return this.#rows.fills(key);
  }

  /** Routes have been made of everything that the hub has told. */
  get #routesSettled(): boolean {
    return this.#published && !this.#dirty && !this.#publishing;
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
      await this.#configMaps?.looked(this.#model.takeNamedConfigMaps(), signal);
      await this.#write(this.#model.settle(), trace, signal);
      const first = !this.#published;
      this.#published = true;
      this.#publishing = false;
      if (first) {
        this.#adopted.forget();
        this.#rows.dropAdopted();
        this.#reportStatuses();
      }
      this.#rows.sweep();
      this.#rollOut();
      this.#wake.notify();
    }
  }

  /** Make before break: what routes need, then routes; what nothing needs any more goes later, by the ticker. */
  async #write(settled: FleetChanges, trace: Trace | undefined, signal: AbortSignal): Promise<void> {
    const routes = new Map<string, FleetValue | null>();
    let needed = this.#writeNeeded(settled, routes, trace);
    const more = (await this.#secrets?.looked(settled, signal)) ?? null;
    if (more !== null) needed += this.#writeNeeded(more, routes, trace);
    const all = more === null ? [settled] : [settled, more];
    const sealed = all.map(({ secrets }) => this.#secrets?.write(secrets, trace));
    for (const { secrets } of all) needed += secrets.size;
    await this.#atMost(STAGE_MS, Promise.all(sealed), signal);
    if (needed > 0 && routes.size > 0) await this.#atMost(STAGE_MS, this.#attached.holder.idle(), signal);
    for (const [key, row] of routes) {
      if (row === null) this.#rows.remove(key, trace);
      else this.#rows.set(key, row, trace);
    }
    // Profiles that no route uses any more, and what is no longer said of listeners; upstreams have their grace.
    for (const [key, row] of settled.rows) {
      const back = more?.rows.get(key) ?? null;
      if (row === null && back === null && rowOrder(key) === 0) this.#rows.remove(key, trace);
    }
    for (const [key, row] of more?.rows ?? [])
      if (row === null && rowOrder(key) === 0) this.#rows.remove(key, trace);
    const dueAt = this.#kit.clock.monotonic() + REMOVAL_GRACE_MS;
    this.#secrets?.doom(dueAt);
    for (const { removedUpstreams, verdicts } of all) {
      this.#rows.doom(removedUpstreams, dueAt);
      this.#attached.reporter.verdicts(verdicts);
    }
  }

  /** What routes need, at once. @param routes are left to be written @returns how many rows that were */
  #writeNeeded(
    { rows, services, removedUpstreams }: FleetChanges,
    routes: Map<string, FleetValue | null>,
    trace: Trace | undefined,
  ): number {
    this.#rows.doom(removedUpstreams, Number.POSITIVE_INFINITY);
    let needed = 0;
    for (const [key, row] of rows) {
      if (rowOrder(key) === 3) routes.set(key, row);
      else if (row !== null) {
        this.#rows.set(key, row, trace);
        if (rowOrder(key) === 1)
          this.#rows.comesBack(key.split(".")[2] as string, (at) => this.#peers.has(at));
        needed += 1;
      }
    }
    for (const service of services) this.#renderService(service);
    return needed;
  }

  /** Resolves when the promise does, or after `ms`; then it goes on beside. */
  async #atMost(ms: number, promise: Promise<unknown>, signal: AbortSignal): Promise<void> {
    const over = new AbortController();
    const limit = slept(this.#kit.clock, ms, AbortSignal.any([signal, over.signal]));
    await Promise.race([promise, limit]);
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
      this.#clusters.judge(clusters.connected);
      this.#rows.sweep();
      this.#rows.expire();
      this.#secrets?.expire();
      this.#rollOut();
    }
  }

  /** Reads Secrets until the signal aborts, and ends with what watches them and ConfigMaps. */
  async readSecrets(signal: AbortSignal): Promise<void> {
    await this.#secrets?.run(signal);
    await Promise.all([this.#secrets?.done, this.#configMaps?.done]);
  }

  /** Of each kind the newest resourceVersion of the hub that was acted upon; undefined when they cannot be compared. */
  source(): Readonly<Record<string, number>> | undefined {
    const acted = this.#attached.hub.source();
    if (acted === undefined || this.#secrets === null) return acted;
    const { actedOn } = this.#secrets;
    if (actedOn === undefined) return undefined;
    return actedOn < 0 ? acted : { ...acted, Secret: actedOn };
  }
}
