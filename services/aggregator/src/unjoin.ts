import type { Bus, PartHolder, TableView } from "@sluice/bus";
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
import { Backoff, type Kit, slept } from "@sluice/service-kit";

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
  /** Its record in `clusters` is being removed. */
  forgetting: boolean;
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
  /** Of what lies in `clusters`, by key. */
  readonly #revisions = new Map<string, number>();
  readonly #unjoined = new Map<string, Unjoined>();
  readonly #running = new Set<Promise<void>>();
  readonly done: Promise<void>;

  constructor(bus: Bus, options: UnjoinOptions, kit: Kit) {
    this.#bus = bus;
    this.#options = options;
    this.#kit = kit;
    this.#intents = bus.view(intentsTable, {
      filter: plainKeys.intent("unjoin", "*"),
      // What may have been taken back must not be carried out: who ordered it writes it again.
      forgetMs: 0,
      onChange: (key, order) => this.#ordered(key, order),
    });
    this.done = this.#intents.done.then(async () => {
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

  /**
   * Something was said of a cluster in `clusters`, readable or not: of one that is unjoined nothing stays.
   * @param revision null: nothing lies there any more
   */
  clusterChanged(key: string, revision: number | null): void {
    if (revision === null) this.#revisions.delete(key);
    else this.#revisions.set(key, revision);
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
    const unjoined: Unjoined = { order, end: new AbortController(), holders: [], forgetting: false };
    this.#unjoined.set(cluster, unjoined);
    this.#kit.log.info({ cluster }, `unjoined ${saidBy(order)}`);
    this.#run(this.#carryOut(cluster, unjoined));
    this.#options.onChange(cluster);
  }

  #run(running: Promise<void>): void {
    this.#running.add(running);
    running.finally(() => this.#running.delete(running)).catch(() => {});
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

  #forget(cluster: string, unjoined: Unjoined): void {
    const key = plainKeys.cluster(cluster);
    if (unjoined.forgetting || !this.#revisions.has(key)) return;
    const record = this.#options.clusters.get(key);
    if (record !== undefined && record.heartbeatAt > unjoined.order.at) {
      const { watcher } = record;
      this.#kit.log.warn({ cluster, watcher }, "a watcher still speaks for a cluster that is unjoined");
    }
    unjoined.forgetting = true;
    this.#run(this.#removeRecord(key, unjoined).finally(() => (unjoined.forgetting = false)));
  }

  /**
   * Over exactly what was read there, readable or not (nobody else ever removes what a newer watcher or a stranger left):
   * a removal that lands late must not take away what the watcher says once the cluster may join again.
   */
  async #removeRecord(key: string, { end, holders: [first] }: Unjoined): Promise<void> {
    const { clock, log, random, signal } = this.#kit;
    const both = AbortSignal.any([signal, end.signal]);
    const backoff = new Backoff(50, 2000, random.next);
    while (!both.aborted && first?.holding === true && this.#intents.connected) {
      const revision = this.#revisions.get(key);
      if (revision === undefined) return;
      try {
        const over = { revision, generation: Math.floor(clock.now()) };
        await this.#bus.compareAndSet(clustersTable, key, undefined, over);
        // Refused: what lies there by now is told in a moment. It is looked for once more, in case it has been told.
        if (this.#revisions.get(key) === revision) return;
      } catch (err) {
        if (both.aborted) return;
        log.debug({ err, key }, "a removal got no answer, trying again");
        await slept(clock, backoff.next() + 20, both);
      }
    }
  }
}
