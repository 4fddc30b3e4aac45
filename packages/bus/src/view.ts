import {
  BadRecordError,
  decodeEnvelope,
  type Envelope,
  type FencedTableSpec,
  type Part,
  type TableSpec,
  type Trace,
} from "@sluice/contracts";
import { type Kit, slept } from "@sluice/service-kit";
import { Believer, type Change, type Question } from "./believer.ts";
import type { DroppedRecords } from "./dropped-records.ts";
import { feed } from "./feed.ts";
import { Signal } from "./signal.ts";
import type { FollowSink, Store, StoredEntry } from "./store.ts";
import { TOMBSTONE_MS, Tombstones } from "./tombstones.ts";

export interface ChangeMeta {
  readonly revision: number;
  readonly trace?: Trace;
  /** Of a plain table: when the server stored it, by the server's clock, ms since 1970. */
  readonly storedAt?: number;
  /** Of a plain table: the number that its writer gave this change; where he gave none, `storedAt` in whole ms. */
  readonly generation?: number;
}

export interface ViewOptions<T> {
  /**
   * NATS subject filter over keys; default all. Of a fenced table it takes in a whole scope, e.g. `default.>`: without
   * the claims beside them no record could be believed.
   */
  readonly filter?: string;
  /** Ends this view alone; default: only the kit's signal does. */
  readonly signal?: AbortSignal | undefined;
  /** What downstream holds from before: kept until something with authority contradicts it. */
  readonly initial?: Iterable<readonly [key: string, value: T]>;
  /**
   * Of a fenced table: at this revision `initial` was all there was, and what it lacks was gone. A record from before it
   * fills no gap, unless its claim holds.
   */
  readonly wholeAt?: number;
  /** Remove tombstones of a fenced table once they are a day old: where its writers may not, because NATS cannot say whose. */
  readonly reaps?: true;
  /** Called in stream order, synchronously; `value` undefined: removed. */
  onChange?(key: string, value: T | undefined, meta: ChangeMeta): void;
  /** A part of a fenced table is settled (again): its claim holds and `synced` names it. */
  onSettled?(part: Part): void;
  /** Of a fenced table: a record came at a key of `unreadable`. */
  onReadable?(key: string): void;
  /** Of a plain table: what lies at this key cannot be read. What was held there is kept. */
  onUnreadable?(key: string, revision: number): void;
  /** A snapshot begins: revisions that were told before it say nothing any more. */
  onRestart?(): void;
  /**
   * Of a plain table: what a new snapshot lacks is forgotten after so long, ms; default: never. For what somebody takes
   * back, and writes again when it was lost: he may have taken it back while this reader was away.
   */
  readonly forgetMs?: number;
}

/** A table as a reader believes it. */
export interface TableView<T> {
  get(key: string): T | undefined;
  entries(): IterableIterator<[string, T]>;
  readonly size: number;
  /** Always true for a plain table once it has caught up. */
  isSettled(part: Part): boolean;
  /** Every part into which a scope (a cluster, a fleet) is cut is settled. */
  isScopeSettled(scope: string): boolean;
  /** Parts of a fenced table that somebody has claimed. */
  parts(): Part[];
  /**
   * Keys whose record could not be read, e.g. because a newer Sluice wrote it. That nothing is held at one of them is no
   * knowledge, settled or not.
   */
  readonly unreadable: ReadonlySet<string>;
  /**
   * What is held at a key of a fenced table, or that nothing is, has not been confirmed since the servers' life or the
   * claim changed: what others made of a newer record must not be overwritten with what is made of this one. Of a plain
   * table: what is held is lacking in the present snapshot, and not forgotten yet.
   */
  isDoubtful(key: string): boolean;
  /** Number of such keys. */
  readonly doubts: number;
  /** Highest revision delivered. */
  readonly revision: number;
  readonly connected: boolean;
  /** The first snapshot has been delivered. */
  caughtUp(signal: AbortSignal): Promise<void>;
  /** Resolves once everything that was on the bus when this was called has been delivered. */
  upToDate(signal: AbortSignal): Promise<void>;
  /** Resolves once `condition` holds; asked again after each delivery. */
  when(condition: () => boolean, signal: AbortSignal): Promise<void>;
  /** Resolves when the signal of its kit has aborted and nothing of it runs. */
  readonly done: Promise<void>;
}

/** How often a reader asks again for a key whose newest record has not been delivered yet. */
const ASK_AGAIN_MS = 500;
/** How long a doubt may end by itself before it is asked about. */
const ASK_AFTER_MS = 5;
/** A record that is read so much later than the server stored it makes its reader a slow one. */
const SLOW_MS = 1000;
/** How often old tombstones are looked for. */
const REAP_MS = 600_000;
/** Keys asked for at a time. */
const ASK_WORKERS = 32;

type ViewKit = Pick<Kit, "log" | "metrics" | "clock" | "signal"> & { readonly dropped: DroppedRecords };

abstract class BaseView<T> implements TableView<T>, FollowSink {
  protected readonly store: Store;
  protected readonly spec: TableSpec<T>;
  protected readonly options: ViewOptions<T>;
  protected readonly kit: ViewKit;
  protected readonly delivered = new Signal();
  readonly #complained = new Set<string>();
  #drops = 0;
  #revision = 0;
  #connected = false;
  #caughtUp = false;
  /** Smallest difference between our clock and the server's at a delivery, ms. */
  #shortest = Number.POSITIVE_INFINITY;
  #slow = false;
  abstract readonly done: Promise<void>;

  constructor(store: Store, spec: TableSpec<T>, options: ViewOptions<T>, kit: ViewKit) {
    this.store = store;
    this.spec = spec;
    this.options = options;
    this.kit = kit;
  }

  abstract get(key: string): T | undefined;
  abstract entries(): IterableIterator<[string, T]>;
  abstract get size(): number;
  abstract isSettled(part: Part): boolean;
  abstract isScopeSettled(scope: string): boolean;
  abstract parts(): Part[];
  abstract readonly unreadable: ReadonlySet<string>;
  abstract isDoubtful(key: string): boolean;
  abstract readonly doubts: number;
  protected abstract apply(entry: StoredEntry): void;

  get revision(): number {
    return this.#revision;
  }

  get connected(): boolean {
    return this.#connected;
  }

  restart(_boot: string): void {
    this.#connected = true;
    this.#caughtUp = false;
    // Revisions of another life of the servers say nothing of this one.
    this.#revision = 0;
    this.options.onRestart?.();
  }

  resumed(): void {
    this.#connected = true;
  }

  entry(entry: StoredEntry): void {
    const drops = this.#drops;
    try {
      this.apply(entry);
    } catch (error) {
      if (!(error instanceof BadRecordError)) throw error;
      this.drop(entry.key, error.reason, error);
      this.unread(entry);
    }
    if (this.#drops === drops) this.kit.dropped.mend(`${this.spec.name}/${entry.key}`);
    if (entry.revision > this.#revision) this.#revision = entry.revision;
    if (this.#caughtUp) this.#noteDelay(entry.storedAt);
    this.delivered.notify();
  }

  caughtUp(signal?: AbortSignal): Promise<void> {
    if (signal === undefined) {
      this.#caughtUp = true;
      this.delivered.notify();
      return Promise.resolve();
    }
    return this.when(() => this.#caughtUp, signal);
  }

  /** A reader that falls behind what the server stores is seen, once each time that it does. */
  #noteDelay(storedAt: number): void {
    const { clock, metrics, log } = this.kit;
    const apart = clock.now() - storedAt;
    // The two clocks need not agree: the shortest way that any record took is none at all.
    this.#shortest = Math.min(this.#shortest, apart);
    const behindMs = apart - this.#shortest;
    if (behindMs < SLOW_MS) {
      if (behindMs < SLOW_MS / 10) this.#slow = false;
      return;
    }
    metrics
      .counter(
        "sluice_bus_late_records_total",
        "Records that were read more than a second after the server had stored them.",
        ["table"],
      )
      .inc({ table: this.spec.name });
    if (this.#slow) return;
    this.#slow = true;
    log.warn({ table: this.spec.name, behindMs: Math.round(behindMs) }, "reading falls behind the bus");
  }

  get snapshotDelivered(): boolean {
    return this.#caughtUp;
  }

  disconnected(): void {
    const { metrics } = this.kit;
    metrics.counter("sluice_bus_breaks_total", "Times that following a table broke off.", ["table"]).inc({
      table: this.spec.name,
    });
    this.#connected = false;
    this.delivered.notify();
  }

  async upToDate(signal: AbortSignal): Promise<void> {
    const target = await this.store.lastRevision(this.spec, signal, this.options.filter);
    await this.when(() => this.#caughtUp && this.#revision >= target, signal);
  }

  async when(condition: () => boolean, signal: AbortSignal): Promise<void> {
    while (!condition()) await this.delivered.wait(signal);
  }

  /** What lies at this key cannot be read: whoever has nothing there does not know that nothing is there. */
  protected unread(_entry: StoredEntry): void {}

  /** Counted each time, logged once a key. */
  protected drop(key: string, reason: string, error?: Error): void {
    this.#drops += 1;
    this.kit.metrics.dropped.inc({ table: this.spec.name, reason });
    const subject = `${this.spec.name}/${key}`;
    // A former holder's last words are no fault of anybody's.
    if (reason !== "stale_epoch") {
      this.kit.dropped.note(subject, error?.message.replace(`${subject}: `, "") ?? reason);
    }
    if (this.#complained.has(key) || this.#complained.size > 10_000) return;
    this.#complained.add(key);
    this.kit.log.warn({ table: this.spec.name, key, reason, err: error }, "record left out");
  }
}

/** Plain tables: the newest record of a key wins. Nothing is removed because a snapshot lacks it, but see `forgetMs`. */
export class PlainView<T> extends BaseView<T> {
  readonly #held = new Map<string, T>();
  /** Keys that came since the last snapshot began. */
  #fresh = new Set<string>();
  readonly #unreadable = new Set<string>();
  readonly done: Promise<void>;

  constructor(store: Store, spec: TableSpec<T>, options: ViewOptions<T>, kit: ViewKit) {
    super(store, spec, options, kit);
    for (const [key, value] of options.initial ?? []) this.#held.set(key, value);
    this.done = store.follow(spec, options.filter ?? ">", this, kit.signal);
  }

  get(key: string): T | undefined {
    return this.#held.get(key);
  }
  entries(): IterableIterator<[string, T]> {
    return this.#held.entries();
  }
  get size(): number {
    return this.#held.size;
  }
  isDoubtful(key: string): boolean {
    return this.options.forgetMs !== undefined && this.#held.has(key) && !this.#fresh.has(key);
  }
  isSettled(): boolean {
    return this.snapshotDelivered;
  }
  isScopeSettled(): boolean {
    return this.snapshotDelivered;
  }
  parts(): Part[] {
    return [];
  }
  get unreadable(): ReadonlySet<string> {
    return this.#unreadable;
  }
  readonly doubts = 0;

  override restart(boot: string): void {
    super.restart(boot);
    this.#fresh = new Set();
    this.#unreadable.clear();
  }

  override caughtUp(signal?: AbortSignal): Promise<void> {
    if (signal === undefined && this.options.forgetMs !== undefined) void this.#forget(this.options.forgetMs);
    return super.caughtUp(signal);
  }

  /** Never rejects: `slept` answers false once the signal has aborted. */
  async #forget(ms: number): Promise<void> {
    const snapshot = this.#fresh;
    if (ms > 0 && !(await slept(this.kit.clock, ms, this.kit.signal))) return;
    if (snapshot !== this.#fresh) return;
    for (const key of [...this.#held.keys()]) {
      if (snapshot.has(key)) continue;
      this.#held.delete(key);
      this.kit.log.info(
        { table: this.spec.name, key },
        "forgotten: the table has lost it, and nobody wrote it again",
      );
      this.options.onChange?.(key, undefined, meta(this.revision, undefined));
    }
    this.delivered.notify();
  }

  protected apply(entry: StoredEntry): void {
    if (this.options.forgetMs !== undefined) this.#fresh.add(entry.key);
    const schema = this.spec.schemaOf(entry.key);
    if (schema === null) return this.drop(entry.key, "foreign_key");
    const envelope = decodeEnvelope(schema, entry.value, `${this.spec.name}/${entry.key}`) as Envelope<T>;
    const { deleted, trace, generation = Math.floor(entry.storedAt) } = envelope;
    const data = deleted === true ? undefined : (envelope.data as T);
    if (data === undefined) this.#held.delete(entry.key);
    else {
      if (this.spec.keyOf !== undefined && this.spec.keyOf(data) !== entry.key) {
        this.unread(entry);
        return this.drop(entry.key, "foreign_name");
      }
      this.#held.set(entry.key, data);
    }
    this.#unreadable.delete(entry.key);
    const { storedAt } = entry;
    this.options.onChange?.(entry.key, data, { ...meta(entry.revision, trace), storedAt, generation });
  }

  protected override unread({ key, revision }: StoredEntry): void {
    this.#unreadable.add(key);
    this.options.onUnreadable?.(key, revision);
  }
}

/** Fenced tables: what is believed is decided by claims; see Believer. */
export class FencedView<T> extends BaseView<T> {
  readonly #fenced: FencedTableSpec<T>;
  readonly #believer: Believer<T>;
  readonly #settledNow = new Set<string>();
  readonly #unreadable = new Set<string>();
  readonly #doubt = new Signal();
  readonly #tombstones: Tombstones | null;
  readonly done: Promise<void>;

  constructor(store: Store, spec: FencedTableSpec<T>, options: ViewOptions<T>, kit: ViewKit) {
    super(store, spec, options, kit);
    const { filter = ">" } = options;
    if (!/^([^.*>]+\.)?>$/.test(filter)) {
      throw new Error(`${spec.name}: filter ${filter} leaves out claims; take a whole scope, e.g. default.>`);
    }
    this.#fenced = spec;
    this.#believer = new Believer(spec.keys, options.initial, options.wholeAt);
    this.#tombstones = options.reaps === true ? new Tombstones() : null;
    this.done = Promise.all([
      this.#reap(),
      store.follow(spec, options.filter ?? ">", this, kit.signal),
      this.#askLoop(),
    ]).then(() => {});
  }

  get(key: string): T | undefined {
    return this.#believer.held.get(key)?.value;
  }
  *entries(): IterableIterator<[string, T]> {
    for (const [key, held] of this.#believer.held) yield [key, held.value];
  }
  get size(): number {
    return this.#believer.held.size;
  }
  isSettled(part: Part): boolean {
    return this.#believer.isSettled(part);
  }
  isScopeSettled(scope: string): boolean {
    return this.#believer.isScopeSettled(scope);
  }
  parts(): Part[] {
    return [...this.#believer.parts()];
  }
  get unreadable(): ReadonlySet<string> {
    return this.#unreadable;
  }
  isDoubtful(key: string): boolean {
    return this.#believer.isDoubtful(key);
  }
  get doubts(): number {
    return this.#believer.doubts;
  }

  protected override unread({ key }: StoredEntry): void {
    if (this.#fenced.keys.classify(key).kind === "record") this.#unreadable.add(key);
  }

  override restart(boot: string): void {
    super.restart(boot);
    this.#settledNow.clear();
    this.#unreadable.clear();
    this.#believer.restart(boot);
    this.#tombstones?.restart();
  }

  override caughtUp(signal?: AbortSignal): Promise<void> {
    if (signal === undefined) this.#doubt.notify();
    return super.caughtUp(signal);
  }

  protected apply(entry: StoredEntry): void {
    const fed = feed(this.#believer, this.#fenced, entry);
    this.#tombstones?.note(entry, fed.kind !== "record");
    switch (fed.kind) {
      case "part":
        return this.#noteSettled(fed.part);
      case "layout":
        for (const part of this.parts()) if (part.scope === fed.scope) this.#noteSettled(part);
        return;
      case "dropped":
        this.drop(entry.key, fed.reason);
        break;
      case "record":
        if (fed.change !== null) this.#tell(fed.change);
        if (this.#unreadable.size > 0 && this.#unreadable.delete(entry.key))
          this.options.onReadable?.(entry.key);
    }
    if (this.#believer.doubts > 0) this.#doubt.notify();
  }

  #tell(change: Change<T>): void {
    this.options.onChange?.(change.key, change.value, meta(change.revision, change.trace));
  }

  #noteSettled(part: Part): void {
    const id = `${part.scope}/${part.shard}`;
    const settled = this.#believer.isSettled(part);
    if (!settled) this.#settledNow.delete(id);
    else if (!this.#settledNow.has(id)) {
      this.#settledNow.add(id);
      this.#doubt.notify();
      this.options.onSettled?.(part);
    }
  }

  /** Removes old tombstones by their sequence, never by key. */
  async #reap(): Promise<void> {
    const { signal, clock, log } = this.kit;
    if (this.#tombstones === null) return;
    while (await slept(clock, REAP_MS, signal)) {
      for (const { key, revision } of this.#tombstones.due(clock.now() - TOMBSTONE_MS)) {
        if (signal.aborted) return;
        try {
          await this.store.removeMessage(this.spec, revision, signal);
          this.#tombstones.removed(key, revision);
        } catch (err) {
          // It lies there until the next round.
          log.debug({ err, key }, "an old tombstone could not be removed");
          break;
        }
      }
    }
  }

  /** Confirms what is held without a current record behind it by asking the server for the key. */
  async #askLoop(): Promise<void> {
    const { signal, clock } = this.kit;
    while (!signal.aborted) {
      const open = this.snapshotDelivered ? [...this.#believer.questions()] : [];
      if (open.length === 0) {
        await this.#doubt.wait(signal).catch(() => {});
        // Most doubts end by themselves: what comes right behind answers them.
        await slept(clock, ASK_AFTER_MS, signal);
        continue;
      }
      const next = open.values();
      await Promise.all(Array.from({ length: Math.min(ASK_WORKERS, open.length) }, () => this.#ask(next)));
      if (this.#believer.questions().next().done === true) continue;
      await slept(clock, ASK_AGAIN_MS, signal);
    }
  }

  async #ask(questions: IterableIterator<Question>): Promise<void> {
    const { signal, log } = this.kit;
    for (const question of questions) {
      if (signal.aborted || !this.connected) return;
      const { key } = question;
      const boot = this.#believer.boot;
      try {
        const found = await this.store.get(this.spec, key, signal);
        // An answer of another life of the servers is no answer.
        if (!this.connected || boot !== this.#believer.boot || !this.snapshotDelivered) return;
        const change = this.#believer.answer(question, found?.revision ?? null);
        if (change !== null) this.#tell(change);
        this.delivered.notify();
      } catch (err) {
        if (!signal.aborted) log.debug({ err, table: this.spec.name, key }, "asking for a key got no answer");
        return;
      }
    }
  }
}

function meta(revision: number, trace: Trace | undefined) {
  return trace === undefined ? { revision } : { revision, trace };
}
