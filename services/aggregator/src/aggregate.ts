import type { Bus, PartHolder, TableView } from "@sluice/bus";
import {
  clustersTable,
  type ExportRecord,
  type Part,
  type SliceValue,
  slicesTable,
  TOPOLOGY_PARTITIONS,
  type TopologyService,
  type TopologyValue,
  type Trace,
  topologyKeys,
  topologyTable,
  type VerdictRecord,
} from "@sluice/contracts";
import { Backoff, type Kit } from "@sluice/service-kit";
import { AllowedPeers } from "./allowed-peers.ts";
import { DoubtedRows } from "./doubted-rows.ts";
import { GatheredWork } from "./gathered-work.ts";
import { Knowledge } from "./knowledge.ts";
import { nothingKnown, type Seed } from "./seed.ts";
import { type IndexedService, keyOf, ServiceIndex } from "./service-index.ts";
import { clusterPeers, derivedName, exportVerdict, mergeExports, type RefusedPeer } from "./topology.ts";
import { Unjoins } from "./unjoin.ts";
import { VerdictBook } from "./verdict-book.ts";

export interface AggregateOptions {
  /** Members that are known to be there: nothing of one counts as gone before its watcher has said so. */
  readonly members: readonly string[];
  /** `--peers NAME=CIDR`, by cluster. */
  readonly peers: ReadonlyMap<string, readonly string[]>;
  /** Addresses that are never peers: the hub's own. */
  readonly refused: readonly string[];
  /** What is held until the bus knows better; default: nothing. */
  readonly seed?: Seed;
}

/** A copy of a service that changed. */
interface Moved {
  readonly indexed: IndexedService;
  readonly cluster: string;
  readonly trace: Trace | undefined;
}

/** What the hub writer needs of the aggregator; it runs beside the hot path. */
export interface Aggregation {
  readonly index: ServiceIndex;
  readonly allowed: AllowedPeers;
  readonly knowledge: Knowledge;
  /** Called after each change of a service. */
  onService(listener: (namespace: string, service: string) => void): void;
  /** Resolves when what the bus holds has been read; rejects with the signal's reason only. */
  read(signal: AbortSignal): Promise<void>;
  readonly done: Promise<void>;
}

/**
 * Keeps `topology` and `verdicts` what `slices` says. The way of one change, top to bottom: slices view → index →
 * `peersOf` → holder.set. It costs that service in that cluster, never the service everywhere.
 */
export function aggregate(bus: Bus, options: AggregateOptions, kit: Kit): Aggregation {
  const index = new ServiceIndex();
  const allowed = new AllowedPeers(options.peers, options.refused);
  const refusedOf = new Map<string, readonly RefusedPeer[]>();
  const listeners: ((namespace: string, service: string) => void)[] = [];
  const holders: PartHolder<TopologyValue>[] = [];
  // Of several aggregators the one that writes a service's rows has the word about its exports.
  const verdicts = new VerdictBook(bus, ({ namespace, service }) => holderOf(namespace, service).holding);

  const { seed = nothingKnown } = options;
  const slices: TableView<SliceValue> = bus.view(slicesTable, {
    initial: seed.slices,
    // A member's credential reaches its own keys only, and whose message is removed cannot be said.
    reaps: true,
    onChange: (key, value, { trace }) => sliceChanged(key, value, trace),
    onSettled: ({ scope }) => knowledge.tell(scope),
    onReadable: (key) => {
      const what = slicesTable.keys.classify(key);
      if (what.kind === "record") knowledge.tell(what.scope);
    },
  });
  const gathered = new GatheredWork<Moved>(
    topologyKeys.turnOf,
    ({ indexed, cluster, trace }) => peersOf(indexed, cluster, trace),
    kit.clock,
  );
  kit.metrics.watched(
    "sluice_aggregator_pending",
    "Copies of services whose peers wait to be made.",
    () => gathered.size,
  );
  const knowledge = new Knowledge(options.members, slices, allowed, (cluster) => unjoins.has(cluster));

  const clusters = bus.view(clustersTable, {
    initial: seed.clusters,
    onChange: (key, record, { revision }) => {
      unjoins.clusterChanged(key, record === undefined ? null : revision);
      if (record === undefined) return;
      if (!allowed.learn(record)) return;
      for (const indexed of index.all()) {
        if (!indexed.copies.has(record.cluster)) continue;
        peersOf(indexed, record.cluster, undefined);
        for (const listener of listeners) listener(indexed.namespace, indexed.service);
      }
      knowledge.tell(record.cluster);
    },
    onUnreadable: (key, revision) => unjoins.clusterChanged(key, revision),
  });

  const unjoins = new Unjoins(bus, { clusters, onChange: (cluster) => knowledge.tell(cluster) }, kit);

  /**
   * Clusters that were known whole since this process began. Of any other a table that is filling up again shows a
   * part only, and a row made of that would take away what readers still hold.
   */
  const wholeOnce = new Set([...seed.slices.values()].map(({ cluster }) => cluster));

  // What was held back of a cluster may be written now.
  knowledge.onMore((cluster) => {
    // What is made of a cluster is whole before its absence counts.
    gathered.flush();
    if (!wholeOnce.has(cluster)) {
      wholeOnce.add(cluster);
      for (const indexed of index.all())
        if (indexed.copies.has(cluster)) peersOf(indexed, cluster, undefined);
    }
    const concerns = Knowledge.concerns(cluster);
    for (const holder of holders) holder.recheck(concerns);
    verdicts.sweep(cluster, isExported);
  });

  function sliceChanged(key: string, value: SliceValue | undefined, trace: Trace | undefined): void {
    if (value !== undefined && keyOf(value) !== key) return leftOut(key);
    const touched = index.apply(key, value);
    if (touched === null) return;
    const { indexed, cluster, exportChanged } = touched;
    const peersKey = topologyKeys.peers(indexed.namespace, indexed.service, cluster);
    gathered.do(peersKey, { indexed, cluster, trace }, trace !== undefined);
    if (exportChanged) serviceOf(indexed, cluster, trace);
    for (const listener of listeners) listener(indexed.namespace, indexed.service);
  }

  function leftOut(key: string): void {
    kit.metrics.dropped.inc({ table: slicesTable.name, reason: "foreign_name" });
    bus.dropped.note(`${slicesTable.name}/${key}`, "foreign_name");
    kit.log.warn({ key }, "a record speaks of another cluster or object than its key, left out");
  }

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
    if (trace !== undefined) kit.log.debug({ trace: trace.id, key }, "topology");
    const id = `${namespace}/${service}/${cluster}`;
    const refusedBefore = refusedOf.get(id);
    if (copy?.export === undefined || derivedName(service) === null) {
      holder.remove(key, trace);
      refusedOf.delete(id);
    } else if (allowed.knows(cluster) && wholeOnce.has(cluster)) {
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
    for (const cluster of new Set([...indexed.copies.keys(), changed])) judge(indexed, cluster, merged);
  }

  function merge(indexed: IndexedService): TopologyService | null {
    const exports: ExportRecord[] = [];
    for (const copy of indexed.copies.values()) if (copy.export !== undefined) exports.push(copy.export);
    return mergeExports(exports);
  }

  function judge(indexed: IndexedService, cluster: string, merged = merge(indexed)): void {
    const { namespace, service } = indexed;
    const refused = refusedOf.get(`${namespace}/${service}/${cluster}`) ?? [];
    const exported = indexed.copies.get(cluster)?.export !== undefined;
    const conditions = exported ? exportVerdict(cluster, service, merged, refused) : [];
    verdicts.say({ cluster, namespace, service, conditions });
  }

  function isExported({ namespace, service, cluster }: VerdictRecord): boolean {
    return index.get(namespace, service)?.copies.get(cluster)?.export !== undefined;
  }

  const doubted = new DoubtedRows(slices, index, kit, (rows) => {
    for (const holder of holders) holder.recheck((key) => rows.has(key));
  });
  for (let shard = 0; shard < TOPOLOGY_PARTITIONS; shard++) {
    const part: Part = { scope: "", shard: String(shard) };
    holders.push(
      bus.hold(topologyTable, part, {
        warm: readOnce,
        fresh: async (signal) => {
          await readOnce(signal);
          judgePartition(shard);
        },
        // What has not been made yet is not known to be unwanted.
        // With what the log says of a table that is lost an empty place is better off than with nothing.
        fills: (key) => seed.slices.size > 0 || !doubted.leavesEmpty(key),
        knows: (key, there) => !gathered.has(key) && !doubted.has(key) && knowledge.mayChange(key, there),
        complete: async (signal) => {
          await knowledge.waitForWhole(signal);
          await doubted.filled(signal);
          gathered.flush();
        },
      }),
    );
  }

  for (const record of seed.clusters.values()) allowed.learn(record);
  for (const [key, value] of seed.slices) sliceChanged(key, value, undefined);

  async function readOnce(signal: AbortSignal): Promise<void> {
    await Promise.all([
      slices.upToDate(signal),
      clusters.caughtUp(signal),
      verdicts.caughtUp(signal),
      unjoins.caughtUp(signal),
    ]);
    gathered.flush();
  }

  async function read(signal: AbortSignal): Promise<void> {
    const backoff = new Backoff(100, 2000, kit.random.next);
    for (;;) {
      try {
        return await readOnce(signal);
      } catch (err) {
        signal.throwIfAborted();
        kit.log.debug({ err }, "the bus did not answer, reading again");
        await kit.clock.sleep(backoff.next(), signal);
      }
    }
  }

  /** Half of what there is would make verdicts that the other half takes back. */
  async function judgeOnceRead(): Promise<void> {
    kit.health.set("slices", "not read yet");
    try {
      await read(kit.signal);
    } catch (error) {
      if (kit.signal.aborted) return;
      throw error;
    }
    kit.health.set("slices", null);
    verdicts.open();
    for (let shard = 0; shard < TOPOLOGY_PARTITIONS; shard++) judgePartition(shard);
  }

  /** Everything that is to be said of the exports of one partition, e.g. because this process holds it now. */
  function judgePartition(shard: number): void {
    const holder = holders[shard];
    if (holder?.holding !== true) return;
    for (const indexed of index.all()) {
      if (holderOf(indexed.namespace, indexed.service) !== holder) continue;
      const merged = merge(indexed);
      for (const cluster of indexed.copies.keys()) judge(indexed, cluster, merged);
    }
    for (const cluster of knowledge.known()) verdicts.sweep(cluster, isExported);
  }

  return {
    index,
    allowed,
    knowledge,
    onService: (listener) => void listeners.push(listener),
    read,
    done: Promise.all([
      judgeOnceRead(),
      slices.done,
      clusters.done,
      verdicts.done,
      unjoins.done,
      ...holders.map((holder) => holder.done),
    ]).then(() => {}),
  };
}
