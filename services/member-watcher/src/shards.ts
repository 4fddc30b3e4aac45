import type { Bus, HoldRequest, PartHolder } from "@sluice/bus";
import { type SliceValue, sliceKeys, slicesTable, type Trace } from "@sluice/contracts";
import type { Kit } from "@sluice/service-kit";
import type { MemberLayout } from "./member-layout.ts";

export interface ShardsPorts {
  readonly bus: Bus;
  readonly cluster: string;
  readonly layout: MemberLayout;
  /** How one shard is held. */
  request(shard: string, holder: () => PartHolder<SliceValue> | undefined): Omit<HoldRequest, "signal">;
  /** The cluster is cut otherwise: everything is to be set again. */
  onCut(): void;
}

/**
 * One cluster's part of `slices`, shard by shard, as the newest layout cuts it. Each shard is held by the process that
 * ranks first for it; what is wanted is the same in all of them, so that any may take any over.
 */
export class Shards {
  readonly #ports: ShardsPorts;
  readonly #kit: Kit;
  #holders: readonly PartHolder<SliceValue>[] = [];
  #cut = new AbortController();
  readonly #ended: Promise<void>[] = [];

  constructor(ports: ShardsPorts, kit: Kit) {
    this.#ports = ports;
    this.#kit = kit;
  }

  /** Holds what it is to hold. Resolves when the kit's signal has aborted and nothing runs. */
  async run(): Promise<void> {
    const { signal } = this.#kit;
    this.#ports.layout.follow((shards) => this.#layOut(shards), signal);
    if (!signal.aborted)
      await new Promise((resolve) => signal.addEventListener("abort", resolve, { once: true }));
    await Promise.all(this.#ended);
  }

  #layOut(shards: number): void {
    const { bus, cluster } = this.#ports;
    this.#cut.abort(new Error("the cluster is cut otherwise"));
    this.#cut = new AbortController();
    const signal = AbortSignal.any([this.#kit.signal, this.#cut.signal]);
    const holders: PartHolder<SliceValue>[] = [];
    for (let n = 0; n < shards; n++) {
      const shard = sliceKeys.shardAt(n);
      const request = this.#ports.request(shard, () => holders[n]);
      holders.push(
        bus.hold<SliceValue>(slicesTable, { scope: cluster, shard }, { ...request, shards, signal }),
      );
    }
    this.#holders = holders;
    this.#ended.push(...holders.map((holder) => holder.done));
    this.#ports.onCut();
  }

  #of(key: string): PartHolder<SliceValue> | undefined {
    const what = sliceKeys.classify(key);
    if (what.kind !== "record") return undefined;
    return this.#holders[Number(sliceKeys.shardOf(what.spread, this.#holders.length))];
  }

  set(key: string, value: SliceValue, trace?: Trace): void {
    this.#of(key)?.set(key, value, trace);
  }

  remove(key: string, trace?: Trace): void {
    this.#of(key)?.remove(key, trace);
  }

  /** Keys of which something is wanted, in the shards that this process holds. */
  *keys(): Generator<string> {
    for (const holder of this.#holders) if (holder.holding) yield* holder.keys();
  }

  /** Whether this process writes that key. */
  holdsKey(key: string): boolean {
    return this.#of(key)?.holding ?? false;
  }

  get holding(): boolean {
    return this.#holders.some((holder) => holder.holding);
  }

  /** Whether this process writes the records of that export. */
  holds(namespace: string, service: string): boolean {
    return this.holdsKey(sliceKeys.export(this.#ports.cluster, namespace, service));
  }

  /** Whether this process speaks for the cluster as a whole: who should hold its first shard does. */
  get speaks(): boolean {
    const [first] = this.#holders;
    return first !== undefined && (first.holding || first.rank === 0);
  }
}
