import type { Bus, PartHolder, TableView } from "@sluice/bus";
import {
  clustersTable,
  decodeToken,
  type ExportRecord,
  type Part,
  plainKeys,
  type SliceValue,
  slicesTable,
  TOPOLOGY_PARTITIONS,
  type TopologyValue,
  type Trace,
  topologyKeys,
  topologyTable,
  verdictsTable,
} from "@sluice/contracts";
import { AllowedPeers } from "./allowed-peers.ts";
import { type IndexedService, ServiceIndex } from "./service-index.ts";
import { clusterPeers, derivedName, exportVerdict, mergeExports, type RefusedPeer } from "./topology.ts";

export interface AggregateOptions {
  /** Members that are known to be there: nothing of one counts as gone before its watcher has said so. */
  readonly members: readonly string[];
  /** `--peers NAME=CIDR`, by cluster. */
  readonly peers: ReadonlyMap<string, readonly string[]>;
  /** Addresses that are never peers: the hub's own. */
  readonly refused: readonly string[];
}

/** What the hub writer needs of the aggregator; it runs beside the hot path. */
export interface Aggregation {
  readonly index: ServiceIndex;
  readonly allowed: AllowedPeers;
  /** Whether what is (not) known of a cluster is knowledge. */
  knowsCluster(cluster: string): boolean;
  /** Called after each change of a service. */
  onService(listener: (namespace: string, service: string) => void): void;
  /** Resolves when `slices` has been read. */
  read(signal: AbortSignal): Promise<void>;
  readonly done: Promise<void>;
}

/**
 * Keeps `topology` and `verdicts` what `slices` says. The way of one change, top to bottom: slices view → index →
 * `peersOf` → holder.set. It costs that service in that cluster, never the service everywhere.
 */
export function aggregate(bus: Bus, options: AggregateOptions): Aggregation {
  const index = new ServiceIndex();
  const allowed = new AllowedPeers(options.peers, options.refused);
  const refusedOf = new Map<string, readonly RefusedPeer[]>();
  const listeners: ((namespace: string, service: string) => void)[] = [];
  const holders: PartHolder<TopologyValue>[] = [];
  const verdictWriter = bus.writer(verdictsTable);
  const verdicts = bus.view(verdictsTable);

  const slices: TableView<SliceValue> = bus.view(slicesTable, {
    onChange: (key, value, { trace }) => {
      const touched = index.apply(key, value);
      if (touched === null) return;
      const { indexed, cluster, exportChanged } = touched;
      peersOf(indexed, cluster, trace);
      if (exportChanged) serviceOf(indexed, cluster, trace);
      for (const listener of listeners) listener(indexed.namespace, indexed.service);
    },
    // A cluster's slices are all there: what was held back of it may be written now.
    onSettled: () => {
      for (const holder of holders) holder.recheck();
    },
  });

  const clusters = bus.view(clustersTable, {
    onChange: (_key, record) => {
      if (record === undefined || !allowed.learn(record)) return;
      for (const holder of holders) holder.recheck();
      for (const indexed of index.all()) {
        if (!indexed.copies.has(record.cluster)) continue;
        peersOf(indexed, record.cluster, undefined);
        for (const listener of listeners) listener(indexed.namespace, indexed.service);
      }
    },
  });

  function holderOf(namespace: string, service: string): PartHolder<TopologyValue> {
    const what = topologyTable.keys.classify(topologyKeys.service(namespace, service));
    const shard = what.kind === "record" ? topologyKeys.shardOf(what.spread, TOPOLOGY_PARTITIONS) : "0";
    return holders[Number(shard)]!;
  }

  /** The hot path. */
  function peersOf(indexed: IndexedService, cluster: string, trace: Trace | undefined): void {
    const { namespace, service } = indexed;
    const holder = holderOf(namespace, service);
    const key = topologyKeys.peers(namespace, service, cluster);
    const copy = indexed.copies.get(cluster);
    const id = `${namespace}/${service}/${cluster}`;
    const refusedBefore = refusedOf.get(id);
    if (copy?.export === undefined || derivedName(service) === null) {
      holder.remove(key, trace);
      refusedOf.delete(id);
    } else {
      const identity = { namespace, service, cluster };
      const { peers, refused } = clusterPeers(identity, copy.slices.values(), allowed.filter(cluster));
      holder.set(key, peers, trace);
      if (refused.length > 0) refusedOf.set(id, refused);
      else refusedOf.delete(id);
    }
    if (refusedBefore !== undefined || refusedOf.has(id)) judge(indexed, cluster);
  }

  function serviceOf(indexed: IndexedService, changed: string, trace: Trace | undefined): void {
    const { namespace, service } = indexed;
    const key = topologyKeys.service(namespace, service);
    const merged = merge(indexed);
    if (merged === null || derivedName(service) === null) holderOf(namespace, service).remove(key, trace);
    else holderOf(namespace, service).set(key, merged, trace);
    for (const cluster of new Set([...indexed.copies.keys(), changed])) judge(indexed, cluster);
  }

  function merge(indexed: IndexedService) {
    const exports: ExportRecord[] = [];
    for (const copy of indexed.copies.values()) if (copy.export !== undefined) exports.push(copy.export);
    return mergeExports(exports);
  }

  /** Says what is to be said of one export, when it is other than what stands there. */
  function judge(indexed: IndexedService, cluster: string): void {
    const { namespace, service } = indexed;
    const refused = refusedOf.get(`${namespace}/${service}/${cluster}`) ?? [];
    const exported = indexed.copies.get(cluster)?.export !== undefined;
    const conditions = exported ? exportVerdict(cluster, service, merge(indexed), refused) : [];
    const key = plainKeys.verdict(cluster, namespace, service);
    const now = JSON.stringify(conditions);
    if ((spoken.get(key) ?? JSON.stringify(verdicts.get(key)?.conditions ?? [])) === now) return;
    spoken.set(key, now);
    verdictWriter.set(key, { cluster, namespace, service, conditions });
  }
  const spoken = new Map<string, string>();

  function knowsCluster(cluster: string): boolean {
    // Without its rules every peer would be refused: out of ignorance.
    if (!allowed.knows(cluster)) return false;
    const parts = slices.parts().filter((part) => part.scope === cluster);
    return parts.length > 0 && parts.every((part) => slices.isSettled(part));
  }

  /** Clusters whose slices somebody publishes, or should. */
  function expected(): Set<string> {
    return new Set([...options.members, ...slices.parts().map((part) => part.scope)]);
  }

  function knows(key: string): boolean {
    const token = key.split(".")[2] ?? "";
    if (token === "_service") return [...expected()].every(knowsCluster);
    return knowsCluster(decodeToken(token) ?? token);
  }

  for (let shard = 0; shard < TOPOLOGY_PARTITIONS; shard++) {
    const part: Part = { scope: "", shard: String(shard) };
    holders.push(
      bus.hold(topologyTable, part, {
        fresh: async (signal) => {
          await Promise.all([slices.upToDate(signal), clusters.caughtUp(signal), verdicts.caughtUp(signal)]);
        },
        knows,
        complete: (signal) => slices.when(() => [...expected()].every(knowsCluster), signal),
      }),
    );
  }

  return {
    index,
    allowed,
    knowsCluster,
    onService: (listener) => void listeners.push(listener),
    read: (signal) => slices.upToDate(signal),
    done: Promise.all([
      slices.done,
      clusters.done,
      verdicts.done,
      verdictWriter.done,
      ...holders.map((holder) => holder.done),
    ]).then(() => {}),
  };
}
