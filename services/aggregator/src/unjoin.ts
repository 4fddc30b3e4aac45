import type { Bus, PartHolder, PlainWriter, TableView } from "@sluice/bus";
import {
  type ClusterRecord,
  clustersTable,
  type IntentRecord,
  intentsTable,
  plainKeys,
  type SliceValue,
  saidBy,
  sliceKeys,
  slicesTable,
} from "@sluice/contracts";
import type { Kit } from "@sluice/service-kit";

export interface UnjoinOptions {
  /** Of `clusters`, as the aggregator reads it. */
  readonly clusters: Pick<TableView<ClusterRecord>, "get" | "unreadable">;
  /** What is known of a cluster may be other than before. */
  onChange(cluster: string): void;
}

/** One cluster that somebody ordered out for good, while the order stands. */
interface Unjoined {
  readonly order: IntentRecord;
  readonly end: AbortController;
  holders: readonly PartHolder<SliceValue>[];
}

/**
 * Clusters that are gone for good (`unjoin.<cluster>` in `intents`). Their shards of `slices` fall to the aggregators, as
 * parts do: whoever ranks first claims one, wants nothing in it, and so leaves tombstones and `synced`; `topology`,
 * `fleet` and the hub follow because it was seen. Whoever has the first shard removes the record in `clusters` too.
 * A watcher of such a cluster publishes nothing while the order stands; what one that does not know of it says is
 * overwritten, and told.
 */
export class Unjoins {
  readonly #bus: Bus;
  readonly #options: UnjoinOptions;
  readonly #kit: Kit;
  readonly #intents: TableView<IntentRecord>;
  readonly #writer: PlainWriter<ClusterRecord>;
  readonly #unjoined = new Map<string, Unjoined>();
  readonly #running = new Set<Promise<void>>();
  readonly done: Promise<void>;

  constructor(bus: Bus, options: UnjoinOptions, kit: Kit) {
    this.#bus = bus;
    this.#options = options;
    this.#kit = kit;
    this.#writer = bus.writer(clustersTable, () => false);
    this.#intents = bus.view(intentsTable, {
      filter: plainKeys.intent("unjoin", "*"),
      // What may have been taken back must not be carried out: who ordered it writes it again.
      forgetMs: 0,
      onChange: (key, order) => this.#ordered(key, order),
    });
    this.done = Promise.all([this.#intents.done, this.#writer.done]).then(async () => {
      await Promise.all(this.#running);
    });
  }

  has(cluster: string): boolean {
    return this.#unjoined.has(cluster);
  }

  /** The orders that stood when this was called have been read. */
  async caughtUp(signal: AbortSignal): Promise<void> {
    await this.#intents.caughtUp(signal);
  }

  /** Something was said of a cluster in `clusters`, readable or not: of one that is unjoined nothing stays. */
  clusterChanged(key: string): void {
    for (const [cluster, unjoined] of this.#unjoined) {
      if (plainKeys.cluster(cluster) === key) this.#forget(cluster, unjoined);
    }
  }

  #ordered(key: string, order: IntentRecord | undefined): void {
    if (order === undefined) {
      for (const [cluster, { end, order: stood }] of this.#unjoined) {
        if (plainKeys.intent("unjoin", cluster) !== key) continue;
        this.#unjoined.delete(cluster);
        end.abort(new Error("the cluster may join again"));
        this.#kit.log.info({ cluster, order: stood }, "an unjoined cluster may join again");
        this.#options.onChange(cluster);
      }
      return;
    }
    const { cluster } = order;
    const known = this.#unjoined.get(cluster);
    if (known !== undefined) return this.#forget(cluster, known);
    const unjoined: Unjoined = { order, end: new AbortController(), holders: [] };
    this.#unjoined.set(cluster, unjoined);
    this.#kit.log.info({ cluster }, `unjoined ${saidBy(order)}`);
    const running = this.#carryOut(cluster, unjoined);
    this.#running.add(running);
    running.finally(() => this.#running.delete(running)).catch(() => {});
    this.#options.onChange(cluster);
  }

  async #carryOut(cluster: string, unjoined: Unjoined): Promise<void> {
    const { signal, log } = this.#kit;
    const both = AbortSignal.any([signal, unjoined.end.signal]);
    const ended: Promise<void>[] = [];
    let cut = new AbortController();
    await this.#bus.layout(slicesTable, cluster, {
      signal: both,
      onLayout: (shards) => {
        cut.abort(new Error("the cluster is cut otherwise"));
        cut = new AbortController();
        const until = AbortSignal.any([both, cut.signal]);
        unjoined.holders = Array.from({ length: shards }, (_, n) =>
          this.#bus.hold<SliceValue>(
            slicesTable,
            { scope: cluster, shard: sliceKeys.shardAt(n) },
            {
              signal: until,
              shards,
              // Nothing is wanted, whatever is there, as long as the order stands.
              fresh: async (claim) => {
                // Read in this life of the servers: whoever was away may have missed that it was taken back.
                await this.#intents.when(() => this.#intents.connected, claim);
                await this.#intents.caughtUp(claim);
                log.info({ cluster, shard: n }, "removing what an unjoined cluster had published");
                if (n === 0) this.#forget(cluster, unjoined);
              },
            },
          ),
        );
        ended.push(...unjoined.holders.map((holder) => holder.done));
      },
    });
    cut.abort(both.reason);
    await Promise.all(ended);
  }

  #forget(cluster: string, { order, holders }: Unjoined): void {
    const [first] = holders;
    const key = plainKeys.cluster(cluster);
    const { clusters } = this.#options;
    const record = clusters.get(key);
    // What a newer watcher or a stranger has left there goes, too: nobody else ever removes it.
    if (record === undefined && !clusters.unreadable.has(key)) return;
    if (first?.holding !== true || !this.#intents.connected) return;
    if (record !== undefined && record.heartbeatAt > order.at) {
      const { watcher } = record;
      this.#kit.log.warn({ cluster, watcher }, "a watcher still speaks for a cluster that is unjoined");
    }
    this.#writer.remove(key);
  }
}
