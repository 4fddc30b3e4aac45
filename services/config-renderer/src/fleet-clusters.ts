import type { TableView } from "@sluice/bus";
import {
  type ClusterRecord,
  type ClusterSeen,
  type FleetCluster,
  fleetKeys,
  type IntentRecord,
  orderOf,
  type ProxyRecord,
  type ProxySeen,
  plainKeys,
  sawCluster,
  sawProxy,
} from "@sluice/contracts";
import type { Kit } from "@sluice/service-kit";
import { clusterRow } from "./cluster-rows.ts";
import { countVotes, judgeCluster } from "./cluster-states.ts";
import type { FleetRows } from "./fleet-rows.ts";
import type { ConfigRendererOptions } from "./options.ts";

/** What is heard of the clusters, from them and from the fleet's proxies, and the row of each that follows from it. */
export class FleetClusters {
  readonly #options: ConfigRendererOptions;
  readonly #kit: Pick<Kit, "clock" | "metrics">;
  readonly #rows: FleetRows;
  #intents: TableView<IntentRecord> | undefined;
  readonly #seen = new Map<string, ClusterSeen>();
  /** By key in `proxies`. */
  readonly #proxies = new Map<string, ProxySeen>();
  /** How many peers records each cluster has. */
  readonly #recordsOf = new Map<string, number>();
  /** null: the bus has not been there yet. */
  #wasConnected: boolean | null = null;

  constructor(options: ConfigRendererOptions, rows: FleetRows, kit: Pick<Kit, "clock" | "metrics">) {
    this.#options = options;
    this.#rows = rows;
    this.#kit = kit;
  }

  attach(intents: TableView<IntentRecord>): void {
    this.#intents = intents;
  }

  /** A cluster of which no row can be made yet, though there is to be one; undefined: there is none. */
  get unknown(): string | undefined {
    const ofPeers = [...this.#recordsOf.keys()].find(
      (cluster) => !this.#seen.has(cluster) && this.#options.peers[cluster] === undefined,
    );
    return (
      ofPeers ??
      [...this.#seen.keys()].find((cluster) => this.#isUntold(cluster) && !this.#isUnjoined(cluster))
    );
  }

  /** Where its peers may be has not been told since the bus was empty. */
  #isUntold(cluster: string): boolean {
    const seen = this.#seen.get(cluster);
    if (seen === undefined || seen.record.nodeCidrs !== undefined) return false;
    return (this.#options.peers[cluster] ?? []).length === 0;
  }

  #isUnjoined(cluster: string): boolean {
    return this.#intents !== undefined && orderOf(this.#intents, "unjoin", cluster) !== undefined;
  }

  /** It has a peers record more, or one less. */
  count(cluster: string, more: 1 | -1): void {
    const records = (this.#recordsOf.get(cluster) ?? 0) + more;
    if (records > 0) this.#recordsOf.set(cluster, records);
    else {
      this.#recordsOf.delete(cluster);
      this.#render(cluster);
    }
  }

  /** @param storedAt when the bus's server took it, by its own clock, ms since 1970 */
  changed(key: string, record: ClusterRecord | undefined, storedAt?: number): void {
    if (record === undefined) {
      const gone = [...this.#seen].find(([cluster]) => plainKeys.cluster(cluster) === key);
      if (gone === undefined) return;
      this.#seen.delete(gone[0]);
      this.#render(gone[0]);
      return;
    }
    const before = this.#seen.get(record.cluster);
    this.#seen.set(record.cluster, sawCluster(before, record, this.#kit.clock.now(), storedAt));
    this.#render(record.cluster);
  }

  /** @param storedAt when the bus's server took it, by its own clock, ms since 1970 */
  proxyChanged(key: string, record: ProxyRecord | undefined, storedAt?: number): void {
    const before = this.#proxies.get(key);
    if (record === undefined) this.#proxies.delete(key);
    else this.#proxies.set(key, sawProxy(before, record, this.#kit.clock.now(), storedAt));
    // The ticker looks at all of them anyway; a verdict that changed does not wait for it.
    if (JSON.stringify(before?.record.clusters) !== JSON.stringify(record?.clusters)) this.renderAll();
  }

  renderAll(): void {
    if (this.#intents === undefined) return;
    const votesOn = countVotes(this.#proxies.values(), this.#kit.clock.now());
    const known = new Set([...this.#seen.keys(), ...Object.keys(this.#options.peers)]);
    const counts = { ok: 0, stale: 0, down: 0, drained: 0 };
    for (const cluster of known) {
      const state = this.#render(cluster, votesOn);
      if (state !== null) counts[state] += 1;
    }
    const gauge = this.#kit.metrics.gauge("sluice_clusters", "Clusters of the fleet by state.", ["state"]);
    for (const [state, n] of Object.entries(counts)) gauge.set({ state }, n);
  }

  /** @returns its state; null: it has no row of ours */
  #render(
    cluster: string,
    votesOn = countVotes(this.#proxies.values(), this.#kit.clock.now()),
  ): FleetCluster["state"] | null {
    const intents = this.#intents;
    if (intents === undefined) return null;
    const key = fleetKeys.cluster(this.#options.fleet, cluster);
    const seen = this.#seen.get(cluster);
    const fromFlags = this.#options.peers[cluster] ?? [];
    // That its record was removed may have been lost with the bus; then it is gone once its last peers are.
    const gone = this.#isUnjoined(cluster) && (seen === undefined || !this.#recordsOf.has(cluster));
    if (gone || (seen === undefined && fromFlags.length === 0)) {
      this.#rows.remove(key);
      return null;
    }
    // The row that proxies have, or none, stands.
    if (this.#isUntold(cluster)) return null;
    const drain = orderOf(intents, "drain", cluster);
    const judged = judgeCluster(seen, drain, votesOn(cluster), this.#kit.clock.now());
    this.#rows.set(key, clusterRow(cluster, seen, fromFlags, judged));
    return judged.state;
  }

  /** While the bus is away no heartbeat can come, which says nothing of the clusters. */
  judge(connected: boolean): void {
    const now = this.#kit.clock.now();
    if (connected && this.#wasConnected === false) {
      for (const [cluster, seen] of this.#seen) this.#seen.set(cluster, { ...seen, heardAt: now });
      for (const [key, seen] of this.#proxies) this.#proxies.set(key, { ...seen, heardAt: now });
    }
    if (connected || this.#wasConnected !== null) this.#wasConnected = connected;
    if (connected) this.renderAll();
  }
}
