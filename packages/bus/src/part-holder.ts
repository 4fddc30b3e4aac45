import {
  BadRecordError,
  Claim,
  decode,
  type FencedTableSpec,
  type KeyClass,
  Layout,
  type Part,
  parseJson,
  StepDownError,
  Synced,
  type Trace,
} from "@sluice/contracts";
import { Backoff, slept } from "@sluice/service-kit";
import type { HoldOptions, PartHolder, TakenOver } from "./hold-options.ts";
import { claimPart, type OwnClaim } from "./own-claim.ts";
import { PartTurn, steppingDown } from "./part-turn.ts";
import { PartWriter } from "./part-writer.ts";
import { Signal } from "./signal.ts";
import type { FollowSink, Store, StoredEntry } from "./store.ts";
import { WantedRecords } from "./wanted-records.ts";

/** How often tombstones that have become old are removed, ms. */
const REAP_MS = 600_000;

/** Follows a part of a table, claims it when it is this process's turn, and writes it for as long as the claim holds. */
export class Holder<T> implements PartHolder<T>, FollowSink {
  readonly #store: Store;
  readonly #spec: FencedTableSpec<T>;
  readonly #part: Part;
  readonly #options: HoldOptions;
  readonly #wanted: WantedRecords<T>;
  readonly #writer: PartWriter<T>;
  readonly #turn: PartTurn;
  #claims = { newest: 0, id: "", holder: "" };
  #layout = { n: 0, shards: 0 };
  #syncedEntry = { id: "", revision: 0 };
  #boot = "";
  #snapshot = false;
  #own: OwnClaim | null = null;
  #synced = false;
  readonly #event = new Signal();
  /** Aborted by the end of the process, or of this holder alone. */
  readonly #signal: AbortSignal;
  /** The servers have begun another life since the source was last read. */
  #rebooted = false;
  readonly done: Promise<void>;

  constructor(store: Store, spec: FencedTableSpec<T>, part: Part, options: HoldOptions) {
    this.#store = store;
    this.#spec = spec;
    this.#part = part;
    this.#options = options;
    const { kit, turns } = options;
    const signal = options.signal === undefined ? kit.signal : AbortSignal.any([kit.signal, options.signal]);
    this.#signal = signal;
    this.#wanted = new WantedRecords(spec, kit);
    this.#writer = new PartWriter({ store, spec, part, options, wanted: this.#wanted });
    this.#turn = new PartTurn(spec.name, part, options, signal);
    const hide = turns.show(spec.name, part, () =>
      this.synced ? "synced" : this.holding ? "holding" : "idle",
    );
    this.done = Promise.all([
      store.follow(spec, spec.keys.filterOf(part.scope), this, signal),
      this.#writer.run(signal),
      this.#live(),
    ]).then(hide);
  }

  /** Keys that wait to be written. */
  get pending(): number {
    return this.#writer.pending;
  }

  get holding(): boolean {
    return this.#own !== null && !this.#own.lost.signal.aborted;
  }

  get occupied(): boolean {
    return this.#writer.occupied;
  }

  get rank(): number {
    return this.#turn.rank;
  }

  keys(): IterableIterator<string> {
    return this.#wanted.keys();
  }

  unwritten(): Generator<readonly [key: string, published: T | undefined]> {
    return this.#writer.unwritten();
  }

  get synced(): boolean {
    return this.holding && this.#synced;
  }

  set(key: string, value: T, trace?: Trace): void {
    if (this.#wanted.set(key, value, trace)) this.#writer.changed(key, trace);
  }

  remove(key: string, trace?: Trace): void {
    if (this.#wanted.remove(key, this.#writer.has(key), trace)) this.#writer.changed(key, trace);
  }

  recheck(concerns: (key: string) => boolean = () => true): void {
    this.#writer.recheck(concerns);
  }

  async idle(): Promise<void> {
    await this.#writer.idle();
  }

  // --- what the table says ------------------------------------------------------------------------------------------

  restart(boot: string): void {
    if (this.#boot !== "" && this.#boot !== boot) this.#rebooted = true;
    this.#boot = boot;
    this.#writer.restart();
    this.#claims = { newest: 0, id: "", holder: "" };
    this.#layout = { n: 0, shards: 0 };
    this.#syncedEntry = { id: "", revision: 0 };
    this.#snapshot = false;
    if (this.#own !== null && this.#own.boot !== boot) this.#lose("the servers have another boot");
    this.#event.notify();
  }

  caughtUp(): void {
    this.#snapshot = true;
    this.#event.notify();
  }

  disconnected(): void {
    this.#snapshot = false;
  }

  entry(entry: StoredEntry): void {
    const subject = `${this.#spec.name}/${entry.key}`;
    const what = this.#spec.keys.classify(entry.key);
    try {
      if (what.kind === "claim") {
        if (!this.#mine(what.part)) return;
        const claim = decode(Claim, parseJson(entry.value, subject), subject);
        if (what.n > this.#claims.newest) {
          this.#claims = { newest: what.n, id: claim.id, holder: claim.holder };
        }
        if (this.#own !== null && what.n > this.#own.epoch.n) {
          this.#lose(`claim ${what.n} by ${claim.holder} is newer than ours (${this.#own.epoch.n})`);
        }
      } else if (what.kind === "synced") {
        if (this.#mine(what.part)) this.#noteSynced(entry, subject);
      } else if (what.kind === "layout") {
        const { shards } = decode(Layout, parseJson(entry.value, subject), subject);
        if (what.scope === this.#part.scope && what.n > this.#layout.n) {
          this.#layout = { n: what.n, shards };
          if (this.#own !== null) this.#lose(`layout ${what.n} voids our claim`);
        }
      } else if (what.kind === "record") {
        if (this.#owns(what)) this.#writer.note(entry);
      }
    } catch (error) {
      if (!(error instanceof BadRecordError)) throw error;
      this.#options.kit.log.warn({ err: error, table: this.#spec.name, key: entry.key }, "record left out");
    }
    this.#event.notify();
  }

  /** Without our word readers that start later would wait for ever: whatever else somebody put there is written over. */
  #noteSynced(entry: StoredEntry, subject: string): void {
    this.#syncedEntry = { id: "", revision: entry.revision };
    try {
      this.#syncedEntry = {
        id: decode(Synced, parseJson(entry.value, subject), subject).id,
        revision: entry.revision,
      };
    } finally {
      const own = this.#own;
      if (own !== null && this.synced && this.#syncedEntry.id !== own.epoch.id) {
        this.#putSynced(own, own.signal).catch((err: unknown) => {
          if (!own.signal.aborted) this.#options.kit.log.warn({ err, subject }, "could not be put right");
        });
      }
    }
  }

  #mine(part: Part): boolean {
    return part.scope === this.#part.scope && part.shard === this.#part.shard;
  }

  #owns({ scope, spread }: KeyClass & { kind: "record" }): boolean {
    if (scope !== this.#part.scope) return false;
    const { keys } = this.#spec;
    const shards = this.#options.shards ?? (this.#layout.shards || keys.defaultShards);
    return keys.shardOf(spread, shards) === this.#part.shard;
  }

  // --- holding ------------------------------------------------------------------------------------------------------

  #lose(why: string): void {
    const own = this.#own;
    if (own === null || own.lost.signal.aborted) return;
    const { log } = this.#options.kit;
    log.warn({ table: this.#spec.name, part: this.#part, claim: own.epoch.n }, `stepping down: ${why}`);
    this.#writer.end();
    this.#synced = false;
    own.lost.abort(steppingDown(this.#spec.name, this.#part, why));
    this.#options.turns.moved();
    this.#event.notify();
  }

  async #live(): Promise<void> {
    const { log, clock, random } = this.#options.kit;
    const signal = this.#signal;
    const backoff = new Backoff(200, 5000, random.next);
    while (!signal.aborted) {
      try {
        await this.#holdOnce(signal);
        backoff.reset();
      } catch (error) {
        if (signal.aborted) break;
        this.#writer.end();
        this.#own?.lost.abort(error);
        if (!(error instanceof StepDownError)) {
          log.warn({ err: error, table: this.#spec.name, part: this.#part }, "could not hold, trying again");
        }
        await slept(clock, backoff.next(), signal);
      }
    }
    this.#writer.end();
  }

  async #holdOnce(signal: AbortSignal): Promise<void> {
    await this.#turn.come(() => this.#lostTo(), signal);
    await this.#when(() => this.#snapshot, signal);
    const own = await this.#claim(signal);
    this.#own = own;
    this.#synced = false;
    const { clock, log } = this.#options.kit;
    const both = own.signal;
    // The table has been read whole when our own claim comes back.
    await this.#when(() => this.#claims.newest >= own.epoch.n, both);
    if (this.#claims.id !== own.epoch.id) this.#lose(`claim ${this.#claims.newest} is newer than ours`);
    // What came in while the claim was on its way met no claim of ours that it could have voided.
    if (this.#layout.n !== own.layout) this.#lose(`layout ${this.#layout.n} voids our claim`);
    if (this.#boot !== own.boot) this.#lose("the servers have another boot");
    both.throwIfAborted();
    log.info({ table: this.#spec.name, part: this.#part, claim: own.epoch.n }, "claimed");
    await this.#readSource(both);
    both.throwIfAborted();
    this.#writer.begin(own);
    await this.#writer.settle(both);
    if (this.#options.complete !== undefined) {
      await this.#options.complete(both);
      both.throwIfAborted();
      await this.#writer.settle(both);
    }
    await this.#putSynced(own, both);
    this.#synced = true;
    this.#options.turns.moved();
    this.#turn.settled();
    log.info({ table: this.#spec.name, part: this.#part, records: this.#wanted.size }, "synced");
    while (await slept(clock, REAP_MS, both)) await this.#writer.reap(own, both);
    both.throwIfAborted();
  }

  /** Who took the part from this process; null: nobody did. */
  #lostTo(): string | null {
    const { newest, holder } = this.#claims;
    return this.#own !== null && newest > this.#own.epoch.n ? holder : null;
  }

  #claim(signal: AbortSignal): Promise<OwnClaim> {
    const { kit, holder } = this.#options;
    const known = () => ({ newest: this.#claims.newest, layout: this.#layout.n, boot: this.#boot });
    const request = { store: this.#store, spec: this.#spec, part: this.#part, kit, holder, known };
    return claimPart(request, signal);
  }

  async #readSource(signal: AbortSignal): Promise<void> {
    const over: TakenOver = { sources: this.#rebooted ? null : this.#writer.sources };
    await this.#turn.patiently((limited) => this.#options.fresh(limited, over), "its source anew", signal);
    this.#rebooted = false;
  }

  async #putSynced(own: OwnClaim, signal: AbortSignal): Promise<void> {
    const key = this.#spec.keys.syncedKey(this.#part);
    const synced: Synced = { v: 1, id: own.epoch.id, at: this.#options.kit.clock.now() };
    for (;;) {
      signal.throwIfAborted();
      const value = Buffer.from(JSON.stringify(synced));
      const result = await this.#store.put(this.#spec, key, value, this.#syncedEntry.revision, signal);
      if (result.ok) return;
      const found = await this.#store.get(this.#spec, key, signal);
      this.#syncedEntry = { id: "", revision: found?.revision ?? 0 };
    }
  }

  async #when(condition: () => boolean, signal: AbortSignal): Promise<void> {
    while (!condition()) await this.#event.wait(signal);
  }
}
