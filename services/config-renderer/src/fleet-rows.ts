import type { PartHolder, TableView } from "@sluice/bus";
import {
  decodeToken,
  type FleetValue,
  fleetKeys,
  type IntentRecord,
  type TopologyValue,
  type Trace,
  topologyKeys,
} from "@sluice/contracts";
import type { FleetModel } from "@sluice/ingress";
import { type Kit, slept } from "@sluice/service-kit";
import type { HubSecrets } from "./hub-secrets.ts";
import type { HubSource } from "./hub-source.ts";

/** How often it is asked whether peers are still in doubt, ms. */
const DOUBT_MS = 50;

/** Below: what is written first and removed last when a new holder brings the table in order. */
export function rowOrder(key: string): number {
  return (
    { profiles: 0, rollout: 0, settings: 0, clusters: 0, secrets: 0, upstreams: 1, peers: 2 }[
      key.split(".")[1] ?? ""
    ] ?? 3
  );
}

export interface FleetRowsPorts {
  readonly holder: PartHolder<FleetValue>;
  readonly topology: TableView<TopologyValue>;
  readonly intents: TableView<IntentRecord>;
  readonly hub: HubSource;
  /** null: this fleet has no key to seal them for. */
  readonly secrets: Pick<HubSecrets, "isKnown" | "isUnwanted"> | null;
}

/**
 * The rows that the fleet shall have, and of which keys that is knowledge. Nothing is removed, and no empty place is
 * filled, on the strength of what is in doubt.
 */
export class FleetRows {
  readonly #fleet: string;
  readonly #kit: Pick<Kit, "log" | "clock">;
  readonly #model: FleetModel;
  /** The rows made of the hub as it was last listed are what is desired. */
  readonly #routesSettled: () => boolean;
  #ports: FleetRowsPorts | undefined;

  /** Keys that the fleet shall have, but for adopted ones. */
  readonly #desired = new Set<string>();
  /** Peers rows that stand for what the table had before the hub was listed. */
  readonly #adopted = new Set<string>();
  /** Keys that the holder left alone because nothing was known of them yet: to be compared again. */
  readonly #refused = new Set<string>();
  /** Keys that the table lacks, because what is desired of them is in doubt. */
  readonly #unfilled = new Set<string>();
  /** Keys that were seen to go, whatever else is known: an observed removal needs no other knowledge. */
  readonly #gone = new Set<string>();
  /** Upstreams without a route, and when they go. */
  readonly #doomed = new Map<string, number>();
  readonly #peerKeysOf = new Map<string, Set<string>>();

  constructor(
    fleet: string,
    model: FleetModel,
    routesSettled: () => boolean,
    kit: Pick<Kit, "log" | "clock">,
  ) {
    this.#fleet = fleet;
    this.#model = model;
    this.#routesSettled = routesSettled;
    this.#kit = kit;
  }

  attach(ports: FleetRowsPorts): void {
    this.#ports = ports;
  }

  get #attached(): FleetRowsPorts {
    if (this.#ports === undefined) throw new Error("not attached");
    return this.#ports;
  }

  /** The holder has claimed anew: what was seen to go before says nothing of what its predecessor wrote. */
  claimed(): void {
    this.#gone.clear();
  }

  set(key: string, row: FleetValue, trace?: Trace): void {
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

  remove(key: string, trace?: Trace): void {
    this.#desired.delete(key);
    this.#gone.add(key);
    const id = key.split(".")[2] as string;
    const keys = this.#peerKeysOf.get(id);
    if (keys?.delete(key) && keys.size === 0) this.#peerKeysOf.delete(id);
    if (trace !== undefined) this.#kit.log.debug({ trace: trace.id, key }, "fleet, removed");
    this.#attached.holder.remove(key, trace);
  }

  /** A row for what the table had before the hub was listed. */
  adopt(key: string, row: FleetValue, trace?: Trace): void {
    this.#adopted.add(key);
    this.#attached.holder.set(key, row, trace);
  }

  /** Its peers have gone. */
  orphan(key: string, trace?: Trace): void {
    this.#adopted.delete(key);
    this.remove(key, trace);
  }

  /** Rows are made of the hub now; what of the adopted ones it does not ask for goes. */
  dropAdopted(): void {
    for (const key of this.#adopted) if (!this.#desired.has(key)) this.#attached.holder.remove(key);
    this.#adopted.clear();
  }

  // --- what is known ------------------------------------------------------------------------------------------------

  /** The hub has been listed since the claim, and the rows made of it are what is desired. */
  get hubKnown(): boolean {
    return this.#attached.hub.fresh && this.#routesSettled();
  }

  /** For the holder: whether what is wanted of a key, or that it is not wanted, is knowledge. */
  knows(key: string): boolean {
    const known =
      !this.#isDoubtful(key) &&
      (this.#gone.has(key) ||
        this.#adopted.has(key) ||
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

  /**
   * Peers that are made of a record which may be older than the one that the table's row was made of, or a cluster of
   * which an order is followed that `intents` has lost: it may have been taken back meanwhile.
   */
  #isDoubtful(key: string): boolean {
    const [, kind, id = "", cluster = ""] = key.split(".");
    if (kind === "clusters") {
      const { intents } = this.#attached;
      return intents.isDoubtful(`drain.${id}`) || intents.isDoubtful(`unjoin.${id}`);
    }
    if (kind !== "peers") return false;
    // In its grace nobody follows what becomes of its peers.
    if (this.#doomed.has(id) && !this.#model.hasUpstream(id)) return true;
    return this.#isMadeOfDoubt(id, cluster);
  }

  #isMadeOfDoubt(id: string, cluster: string): boolean {
    const { topology } = this.#attached;
    if (topology.doubts === 0) return false;
    const service = this.#model.serviceOf(id);
    if (service === undefined) return false;
    const [namespace = "", name = ""] = service.split("/");
    return topology.isDoubtful(topologyKeys.peers(namespace, name, cluster));
  }

  /** Peers and clusters come from the bus alone; the rest is the hub's, as it was when it was last listed. */
  #knowsValue(key: string): boolean {
    const { hub, secrets } = this.#attached;
    const kind = key.split(".")[1];
    if (kind === "secrets") return secrets?.isKnown(key) === true;
    return rowOrder(key) === 2 || kind === "clusters" || hub.fresh;
  }

  /** Whether a key that nothing desires is known to be unwanted. */
  #judge(key: string): boolean {
    const [, kind, id, cluster] = key.split(".");
    // Clusters are a plain table: an empty one may just have been lost with its server. Only an unjoin that was seen,
    // or that stands in `intents`, removes.
    if (kind === "clusters") return this.#attached.intents.get(`unjoin.${id ?? ""}`) !== undefined;
    // Whose order it is has to be read before anybody gives another.
    if (kind === "rollout") return false;
    if (!this.hubKnown) return false;
    if (kind === "secrets") return this.#attached.secrets?.isUnwanted(key) ?? true;
    if (kind !== "peers") return true;
    const service = this.#model.serviceOf(id ?? "");
    if (service === undefined) return true;
    const [namespace = "", name = ""] = service.split("/");
    const what = topologyKeys.classify(topologyKeys.service(namespace, name));
    if (what.kind !== "record") return false;
    const shard = topologyKeys.shardOf(what.spread, topologyKeys.defaultShards);
    const { topology } = this.#attached;
    if (topology.unreadable.has(`${what.spread}.${cluster}`)) return false;
    return topology.isSettled({ scope: "", shard });
  }

  /** Knowledge may have grown: rows that were left alone for want of it are compared again. */
  sweep(): void {
    if (this.#refused.size === 0 || this.#ports === undefined) return;
    const refused = [...this.#refused];
    this.#refused.clear();
    if (refused.filter((key) => this.knows(key)).length > 0) this.#ports.holder.recheck();
  }

  /** Until no empty place waits for what is in doubt, and no row was left alone for it that may be an older one. */
  async undoubted(signal: AbortSignal): Promise<void> {
    const wanted = (key: string) => this.#desired.has(key) || this.#adopted.has(key);
    const leftAlone = (key: string) => {
      const [, kind, id = "", cluster = ""] = key.split(".");
      return kind === "peers" && wanted(key) && this.#isMadeOfDoubt(id, cluster);
    };
    const missing = (key: string) => wanted(key) && this.#isDoubtful(key);
    while ([...this.#unfilled].some(missing) || [...this.#refused].some(leftAlone)) {
      await slept(this.#kit.clock, DOUBT_MS, signal);
      signal.throwIfAborted();
    }
    this.#unfilled.clear();
  }

  // --- upstreams that nobody routes to ------------------------------------------------------------------------------

  /** @param dueAt when their rows go, monotonic, ms */
  doom(upstreams: Iterable<{ readonly id: string }>, dueAt: number): void {
    for (const { id } of upstreams) this.#doomed.set(id, dueAt);
  }

  /**
   * An upstream whose grace is not over may have lost peers while nobody asked for it.
   * @param has whether `topology` has peers, by their key there
   */
  comesBack(id: string, has: (key: string) => boolean): void {
    const service = this.#model.serviceOf(id);
    if (service === undefined) return;
    const [namespace = "", name = ""] = service.split("/");
    for (const key of [...(this.#peerKeysOf.get(id) ?? [])]) {
      const cluster = decodeToken(key.split(".")[3] ?? "");
      if (cluster !== null && !has(topologyKeys.peers(namespace, name, cluster))) this.remove(key);
    }
  }

  /**
   * After a claim: an upstream in its grace goes now. Nobody follows its peers, and what the table has of them may be older
   * than what proxies have, e.g. out of a copy that was put back; once the part is whole, that would count.
   */
  endGrace(): void {
    for (const id of this.#doomed.keys()) this.#doomed.set(id, Number.NEGATIVE_INFINITY);
    this.expire();
  }

  /** What time alone changes: upstreams whose grace is over go. */
  expire(): void {
    for (const [id, dueAt] of this.#doomed) {
      const back = this.#model.hasUpstream(id);
      if (!back && this.#kit.clock.monotonic() < dueAt) continue;
      this.#doomed.delete(id);
      if (back) continue;
      for (const key of [...(this.#peerKeysOf.get(id) ?? [])]) this.remove(key);
      this.remove(fleetKeys.upstream(this.#fleet, id));
    }
    for (const key of this.#gone) if (this.#judge(key)) this.#gone.delete(key);
  }
}
