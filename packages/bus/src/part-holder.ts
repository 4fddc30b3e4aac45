import {
  BadRecordError,
  BusUnreachableError,
  Claim,
  decode,
  type Epoch,
  type FencedTableSpec,
  type KeyClass,
  Layout,
  markStage,
  type Part,
  parseJson,
  RecordTooLargeError,
  StepDownError,
  Synced,
  type Trace,
} from "@sluice/contracts";
import { Backoff, LinkedAbort, NewestByKey, slept } from "@sluice/service-kit";
import type { HoldOptions, PartHolder, TakenOver } from "./hold-options.ts";
import { Signal } from "./signal.ts";
import type { FollowSink, Store, StoredEntry } from "./store.ts";
import { encodeRecord, readThere, recordOf, sourcesOf, type There } from "./stored-record.ts";
import { TOMBSTONE_MS } from "./tombstones.ts";
import { WritePass } from "./write-window.ts";

interface Wanted {
  /** The record as JSON: what is compared, and what is written. */
  readonly text: string;
  readonly trace?: Trace;
}

/** What is on its way to the bus: when it comes back through the stream it need not be read. */
interface Sent {
  readonly bytes: Uint8Array;
  readonly there: Omit<There, "revision" | "storedAt">;
}

interface OwnClaim {
  readonly epoch: Epoch;
  readonly boot: string;
  /** Number of the layout that was read before claiming. */
  readonly layout: number;
  readonly revision: number;
  /** Aborted when the claim is void or another is newer. */
  readonly lost: AbortController;
  /** Aborted by `lost` or by the end of the process; one per claim, because writes are many. */
  readonly signal: AbortSignal;
}

/** Keys of one part that are worked on at a time; how many of them are in flight the process's window bounds. */
const WRITE_WORKERS = 64;
const REAP_MS = 600_000;
/** How long a source may take before the part is left to others, ms. */
const PATIENCE_MS = 30_000;
/** After that long a process that resigned is tried again, ms. */
const RESIGNED_MS = 60_000;
/** Two processes that see different members would take a part from each other for ever: each waits longer and longer, ms. */
const QUARREL_MS = [500, 8000] as const;

export class Holder<T> implements PartHolder<T>, FollowSink {
  readonly #store: Store;
  readonly #spec: FencedTableSpec<T>;
  readonly #part: Part;
  readonly #options: HoldOptions;
  readonly #wanted = new Map<string, Wanted>();
  readonly #sent = new Map<string, Sent>();
  #there = new Map<string, There>();
  #claims = { newest: 0, id: "", holder: "", revision: 0 };
  #layout = { n: 0, shards: 0 };
  #syncedEntry = { id: "", revision: 0 };
  #boot = "";
  #snapshot = false;
  #own: OwnClaim | null = null;
  #writable = false;
  #synced = false;
  /** Keys whose wanted value was refused: logged once. */
  readonly #refused = new Set<string>();
  readonly #removeTraces = new Map<string, Trace>();
  readonly #queue: NewestByKey<string, true>;
  readonly #event = new Signal();
  /** Aborted by the end of the process, or of this holder alone. */
  readonly #signal: AbortSignal;
  /** The servers have begun another life since the source was last read. */
  #rebooted = false;
  readonly #quarrel: Backoff;
  readonly done: Promise<void>;

  constructor(store: Store, spec: FencedTableSpec<T>, part: Part, options: HoldOptions) {
    this.#store = store;
    this.#spec = spec;
    this.#part = part;
    this.#options = options;
    this.#queue = new NewestByKey({ groupOf: spec.keys.turnOf });
    const { kit, turns } = options;
    const signal = options.signal === undefined ? kit.signal : AbortSignal.any([kit.signal, options.signal]);
    this.#signal = signal;
    this.#quarrel = new Backoff(...QUARREL_MS, () => 0.5 + kit.random.next() / 2);
    const hide = turns.show(spec.name, part, () =>
      this.synced ? "synced" : this.holding ? "holding" : "idle",
    );
    this.done = Promise.all([
      store.follow(spec, spec.keys.filterOf(part.scope), this, signal),
      this.#queue.run(WRITE_WORKERS, signal, (key) => this.#write(key)),
      this.#live(),
    ]).then(hide);
  }

  /** Scopes (clusters) take turns in the process's window. */
  get #turn(): string {
    return `${this.#spec.name} ${this.#part.scope}`;
  }

  /** Keys that wait to be written. */
  get pending(): number {
    return this.#queue.size;
  }

  get holding(): boolean {
    return this.#own !== null && !this.#own.lost.signal.aborted;
  }

  get occupied(): boolean {
    for (const { text } of this.#there.values()) if (text !== null) return true;
    return false;
  }

  get rank(): number {
    return this.#options.turns.rankOf(this.#spec.name, this.#part);
  }

  keys(): IterableIterator<string> {
    return this.#wanted.keys();
  }

  *unwritten(): Generator<readonly [key: string, published: T | undefined]> {
    for (const [key, there] of this.#there) {
      if (there.text && this.#wanted.get(key)?.text !== there.text) yield [key, recordOf(there) as T];
    }
    for (const key of this.#wanted.keys()) if (!this.#there.get(key)?.text) yield [key, undefined];
  }

  get synced(): boolean {
    return this.holding && this.#synced;
  }

  set(key: string, value: T, trace?: Trace): void {
    const text = JSON.stringify(value);
    const before = this.#wanted.get(key);
    if (before?.text === text) return;
    if (!this.#fits(key, value)) return;
    this.#removeTraces.delete(key);
    this.#wanted.set(key, { text, ...(trace === undefined ? {} : { trace }) });
    if (this.#writable) this.#queue.set(key, true, trace === undefined ? "backlog" : "live");
  }

  /** What no reader would believe is not written: it is refused by name, what is there stays, nothing else waits for it. */
  #fits(key: string, value: T): boolean {
    const { kit } = this.#options;
    const subject = `${this.#spec.name}/${key}`;
    try {
      const schema = this.#spec.schemaOf(key);
      if (schema === null) throw new BadRecordError(`${subject}: not a key of this table`);
      decode(schema, value, subject);
      this.#refused.delete(key);
      return true;
    } catch (error) {
      if (!(error instanceof BadRecordError)) throw error;
      kit.metrics.writes.inc({ table: this.#spec.name, result: "invalid" });
      kit.dropped?.note(subject, error.message);
      if (!this.#refused.has(key)) kit.log.error({ err: error }, "record refused");
      this.#refused.add(key);
      return false;
    }
  }

  remove(key: string, trace?: Trace): void {
    this.#refused.delete(key);
    if (!this.#wanted.delete(key) && !this.#there.has(key)) return;
    if (trace === undefined) this.#removeTraces.delete(key);
    else this.#removeTraces.set(key, trace);
    if (this.#writable) this.#queue.set(key, true, trace === undefined ? "backlog" : "live");
  }

  recheck(concerns: (key: string) => boolean = () => true): void {
    if (!this.#writable) return;
    for (const key of this.#wanted.keys()) if (concerns(key)) this.#queue.set(key, true, "backlog");
    for (const key of this.#there.keys()) {
      if (!this.#wanted.has(key) && concerns(key)) this.#queue.set(key, true, "backlog");
    }
  }

  async idle(): Promise<void> {
    await this.#queue.idle();
  }

  // --- what the table says ------------------------------------------------------------------------------------------

  restart(boot: string): void {
    if (this.#boot !== "" && this.#boot !== boot) this.#rebooted = true;
    this.#boot = boot;
    this.#there = new Map();
    this.#claims = { newest: 0, id: "", holder: "", revision: 0 };
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
          this.#claims = { newest: what.n, id: claim.id, holder: claim.holder, revision: entry.revision };
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
        if (this.#owns(what)) this.#noteRecord(entry);
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

  #noteRecord(entry: StoredEntry): void {
    const known = this.#there.get(entry.key);
    if (known !== undefined && known.revision >= entry.revision) return;
    const sent = this.#sent.get(entry.key);
    if (sent !== undefined && Buffer.compare(sent.bytes, entry.value) === 0) {
      // Our own words, before the bus's answer to them.
      const { revision, storedAt } = entry;
      this.#there.set(entry.key, { ...sent.there, revision, storedAt });
      return;
    }
    this.#there.set(entry.key, readThere(this.#spec, entry, this.#options.kit.log));
    // Somebody else wrote into our part: after our claim that is a difference even when the content is right.
    if (this.#writable) this.#queue.set(entry.key, true, "backlog");
  }

  // --- holding ------------------------------------------------------------------------------------------------------

  #lose(why: string): void {
    const own = this.#own;
    if (own === null || own.lost.signal.aborted) return;
    const { log } = this.#options.kit;
    log.warn({ table: this.#spec.name, part: this.#part, claim: own.epoch.n }, `stepping down: ${why}`);
    this.#writable = false;
    this.#synced = false;
    own.lost.abort(new StepDownError(`${this.#spec.name} ${partName(this.#part)}: ${why}`));
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
        this.#writable = false;
        this.#own?.lost.abort(error);
        if (!(error instanceof StepDownError)) {
          log.warn({ err: error, table: this.#spec.name, part: this.#part }, "could not hold, trying again");
        }
        await slept(clock, backoff.next(), signal);
      }
    }
    this.#writable = false;
  }

  async #holdOnce(signal: AbortSignal): Promise<void> {
    await this.#waitForTurn(signal);
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
    this.#writable = true;
    await this.#settle(both);
    if (this.#options.complete !== undefined) {
      await this.#options.complete(both);
      both.throwIfAborted();
      await this.#settle(both);
    }
    await this.#putSynced(own, both);
    this.#synced = true;
    this.#options.turns.moved();
    this.#quarrel.reset();
    log.info({ table: this.#spec.name, part: this.#part, records: this.#wanted.size }, "synced");
    while (await slept(clock, REAP_MS, both)) await this.#reap(own, both);
    both.throwIfAborted();
  }

  /** Until this process ranks first for the part and its source has been read. */
  async #waitForTurn(signal: AbortSignal): Promise<void> {
    const { turns, warm, kit } = this.#options;
    for (;;) {
      while (this.rank !== 0) await turns.changed(signal);
      const lost = this.#own !== null && this.#claims.newest > this.#own.epoch.n;
      if (lost && turns.isLive(this.#claims.holder)) {
        // It does not see that we rank first, or we do not see that it does.
        await kit.clock.sleep(this.#quarrel.next(), signal);
        if (this.rank !== 0) continue;
      }
      if (warm !== undefined) await this.#patiently((limited) => warm(limited), "its source", signal);
      if (this.rank === 0) return;
    }
  }

  async #readSource(signal: AbortSignal): Promise<void> {
    const over: TakenOver = { sources: this.#rebooted ? null : sourcesOf(this.#there.values()) };
    await this.#patiently((limited) => this.#options.fresh(limited, over), "its source anew", signal);
    this.#rebooted = false;
  }

  /** While it takes too long, others may try: this process ranks last then, and gives up if one of them can. */
  async #patiently(
    readSource: (signal: AbortSignal) => Promise<void>,
    what: string,
    signal: AbortSignal,
  ): Promise<void> {
    const { turns, kit, patienceMs = PATIENCE_MS } = this.#options;
    // Not aborted once the source has been read: some of it may still be coming, and is welcome as long as we hold.
    const givenUp = new AbortController();
    const limited = AbortSignal.any([signal, givenUp.signal]);
    const read = new LinkedAbort(limited);
    let resigned = false;
    const watch = async () => {
      const waiting = read.signal;
      if (!(await slept(kit.clock, patienceMs, waiting))) return;
      kit.log.warn({ table: this.#spec.name, part: this.#part }, `could not read ${what} in time, resigning`);
      resigned = true;
      turns.resign(this.#spec.name, this.#part, true);
      while (this.rank === 0 && !waiting.aborted) await turns.changed(waiting).catch(() => {});
      if (waiting.aborted) return;
      givenUp.abort(new StepDownError(`${this.#spec.name} ${partName(this.#part)}: ${what} cannot be read`));
    };
    const watching = watch();
    try {
      await Promise.race([readSource(limited), rejected(limited)]);
    } finally {
      read.abort();
      await watching;
      if (resigned) void this.#tryAgainLater();
    }
  }

  async #tryAgainLater(): Promise<void> {
    const { turns, kit } = this.#options;
    await slept(kit.clock, RESIGNED_MS, this.#signal);
    turns.resign(this.#spec.name, this.#part, false);
  }

  /** Exactly one process wins a number, because the key is created and never overwritten. */
  async #claim(signal: AbortSignal): Promise<OwnClaim> {
    const { keys } = this.#spec;
    const { kit } = this.#options;
    for (let n = this.#claims.newest + 1; ; n++) {
      signal.throwIfAborted();
      const id = kit.random.uuid();
      const boot = this.#boot;
      const layout = this.#layout.n;
      const claim: Claim = {
        v: 1,
        id,
        boot,
        layout,
        holder: this.#options.holder,
        at: kit.clock.now(),
      };
      const key = keys.claimKey(this.#part, n);
      const revision = await this.#create(key, Buffer.from(JSON.stringify(claim)), id, signal);
      if (revision !== null) {
        const lost = new AbortController();
        return {
          epoch: { n, id },
          boot,
          layout,
          revision,
          lost,
          signal: AbortSignal.any([signal, lost.signal]),
        };
      }
      kit.log.debug({ table: this.#spec.name, part: this.#part, claim: n }, "somebody else won this claim");
    }
  }

  /** @returns the revision, or null when somebody else's value is there */
  async #create(key: string, value: Uint8Array, id: string, signal: AbortSignal): Promise<number | null> {
    try {
      const result = await this.#store.put(this.#spec, key, value, 0, signal);
      if (result.ok) return result.revision;
    } catch (error) {
      if (signal.aborted) throw error;
      this.#options.kit.log.debug({ err: error, key }, "no answer to a claim, reading it");
    }
    // The answer may have been lost: it is ours if the id is.
    const found = await this.#store.get(this.#spec, key, signal);
    if (found === null) throw new Error(`${key}: neither written nor there`);
    const theirs = decode(Claim, parseJson(found.value, key), key);
    return theirs.id === id ? found.revision : null;
  }

  async #settle(signal: AbortSignal): Promise<void> {
    const order = this.#options.order ?? (() => 0);
    const groups = new Map<number, string[]>();
    const put = (rank: number, key: string) => {
      const group = groups.get(rank);
      if (group === undefined) groups.set(rank, [key]);
      else group.push(key);
    };
    for (const key of this.#wanted.keys()) put(order(key), key);
    // Removals come after all writes, in reverse.
    for (const key of this.#there.keys()) if (!this.#wanted.has(key)) put(1e6 - order(key), key);
    for (const rank of [...groups.keys()].sort((a, b) => a - b)) {
      for (const key of groups.get(rank) ?? []) this.#queue.set(key, true, "backlog");
      await this.#queue.idle();
      signal.throwIfAborted();
    }
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

  /** Brings one key to what is wanted, for as long as we hold the part. */
  async #write(key: string): Promise<void> {
    const pass = new WritePass(this.#options.window, this.#turn);
    try {
      await this.#writeUnder(key, pass);
    } finally {
      pass.leave();
    }
  }

  async #writeUnder(key: string, pass: WritePass): Promise<void> {
    const { kit, knows, turns } = this.#options;
    const backoff = new Backoff(20, 2000, kit.random.next);
    for (;;) {
      const own = this.#own;
      if (own === null || !this.#writable || own.signal.aborted) return;
      // Nobody has heard us for so long that somebody else may hold the part by now: our claim may be worth nothing.
      if (!turns.alive) {
        pass.leave();
        await turns.changed(own.signal).catch(() => {});
        continue;
      }
      const wanted = this.#wanted.get(key);
      const there = this.#there.get(key);
      if (!this.#differs(own, wanted, there)) {
        this.#removeTraces.delete(key);
        // One text for both, where the table's was read from the bus.
        if (there !== undefined && wanted !== undefined && there.text === wanted.text)
          this.#there.set(key, { ...there, text: wanted.text });
        return;
      }
      const occupied = there !== undefined && there.text !== null;
      if (knows !== undefined && (wanted === undefined || occupied) && !knows(key, () => recordOf(there)))
        return;
      if (wanted !== undefined && !occupied && this.#options.fills?.(key) === false) return;
      const { signal } = own;
      const live = wanted === undefined ? this.#removeTraces.has(key) : wanted.trace !== undefined;
      if (!pass.tryEnter(live)) {
        // Who waited looks again: there may be something newer to write.
        await pass.enter(live);
        continue;
      }
      try {
        const outcome = await this.#putOnce(key, own, wanted, there, signal);
        kit.metrics.writes.inc({ table: this.#spec.name, result: outcome });
        kit.dropped?.mend(`${this.#spec.name}/${key}`);
      } catch (error) {
        if (signal.aborted) return;
        if (error instanceof RecordTooLargeError) {
          // Refused by name; what is there stays, and nothing else waits for it.
          kit.metrics.writes.inc({ table: this.#spec.name, result: "too_large" });
          kit.dropped?.note(`${this.#spec.name}/${key}`, error.message);
          kit.log.error({ err: error, table: this.#spec.name, key }, "record refused");
          return;
        }
        kit.metrics.writes.inc({ table: this.#spec.name, result: "no_answer" });
        kit.log.warn({ err: error, table: this.#spec.name, key }, "write got no answer, comparing again");
        pass.leave();
        if (!(await slept(kit.clock, backoff.next(), signal))) return;
        await this.#reread(key, signal).catch((err: unknown) => {
          if (!signal.aborted) kit.log.debug({ err, key }, "reading a key got no answer");
        });
      }
    }
  }

  #differs(own: OwnClaim, wanted: Wanted | undefined, there: There | undefined): boolean {
    if (there === undefined) return wanted !== undefined;
    const foreign = there.revision > own.revision && there.epochId !== own.epoch.id;
    return foreign || there.text !== (wanted?.text ?? null);
  }

  async #putOnce(
    key: string,
    own: OwnClaim,
    wanted: Wanted | undefined,
    there: There | undefined,
    signal: AbortSignal,
  ): Promise<"written" | "conflict"> {
    const { kit } = this.#options;
    await kit.injectDelay();
    const trace = this.#published(wanted === undefined ? this.#removeTraces.get(key) : wanted.trace);
    const source = this.#options.source?.();
    const text = wanted?.text ?? null;
    const bytes = encodeRecord({ epoch: own.epoch, trace, source }, text);
    const sent = { bytes, there: { epochId: own.epoch.id, text, source } };
    this.#sent.set(key, sent);
    const result = await this.#store
      .put(this.#spec, key, bytes, there?.revision ?? 0, signal)
      .finally(() => this.#sent.delete(key));
    if (!result.ok) {
      await this.#reread(key, signal);
      return "conflict";
    }
    if (wanted === undefined) this.#removeTraces.delete(key);
    const now = this.#there.get(key);
    if (now === undefined || now.revision < result.revision) {
      this.#there.set(key, {
        ...sent.there,
        revision: result.revision,
        storedAt: kit.clock.now(),
      });
    }
    return "written";
  }

  /** The trace of a change with this stage's mark; a relist has none. */
  #published(trace: Trace | undefined): Trace | undefined {
    if (trace === undefined) return undefined;
    const { clock, metrics } = this.#options.kit;
    const now = clock.now();
    const began = trace.at["watch"];
    if (began !== undefined) {
      metrics.stage.observe({ stage: this.#spec.name }, Math.max(0, now - began) / 1000);
    }
    return markStage(trace, this.#spec.name, now);
  }

  async #reread(key: string, signal: AbortSignal): Promise<void> {
    const before = this.#there.get(key);
    const found = await this.#store.get(this.#spec, key, signal);
    // What the stream delivered meanwhile may be newer than the answer; then the next comparison goes by that.
    if (this.#there.get(key) !== before) return;
    if (this.#store.mayLag?.(this.#spec) === true && isOlder(found, before)) {
      throw new BusUnreachableError(`${this.#spec.name}/${key}: the replica that answered lags behind`);
    }
    if (found === null) this.#there.delete(key);
    else this.#there.set(key, readThere(this.#spec, found, this.#options.kit.log));
  }

  /** Removes old tombstones by their sequence, never by key, and only ours or our predecessors' valid ones. */
  async #reap(own: OwnClaim, signal: AbortSignal): Promise<void> {
    const before = this.#options.kit.clock.now() - TOMBSTONE_MS;
    for (const [key, there] of this.#there) {
      if (there.text !== null || there.storedAt > before) continue;
      if (there.revision > own.revision && there.epochId !== own.epoch.id) continue;
      try {
        await this.#store.removeMessage(this.#spec, there.revision, signal);
      } catch (err) {
        // It lies there until the next round; no reason to claim anew.
        return this.#options.kit.log.debug({ err, key }, "an old tombstone could not be removed");
      }
      if (this.#there.get(key)?.revision === there.revision) this.#there.delete(key);
    }
  }

  async #when(condition: () => boolean, signal: AbortSignal): Promise<void> {
    while (!condition()) await this.#event.wait(signal);
  }
}

/** Whether an answer is from before what is known of a key. Only a tombstone is ever removed, and only by its age. */
function isOlder(found: StoredEntry | null, known: There | undefined): boolean {
  if (known === undefined) return false;
  return found === null ? known.text !== null : found.revision < known.revision;
}

function partName(part: Part): string {
  return [part.scope, part.shard].filter(Boolean).join("/");
}

/** Rejects with the signal's reason once it aborts. */
async function rejected(signal: AbortSignal): Promise<never> {
  signal.throwIfAborted();
  const { promise, reject } = Promise.withResolvers<never>();
  signal.addEventListener("abort", () => reject(signal.reason), { once: true });
  return promise;
}
