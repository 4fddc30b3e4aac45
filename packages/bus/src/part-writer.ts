import {
  BusUnreachableError,
  type FencedTableSpec,
  markStage,
  type Part,
  RecordTooLargeError,
  type Trace,
} from "@sluice/contracts";
import { Backoff, NewestByKey, slept } from "@sluice/service-kit";
import type { HoldOptions } from "./hold-options.ts";
import type { OwnClaim } from "./own-claim.ts";
import type { Store, StoredEntry } from "./store.ts";
import { encodeRecord, readThere, recordOf, sourcesOf, type There } from "./stored-record.ts";
import { TOMBSTONE_MS } from "./tombstones.ts";
import type { Wanted, WantedRecords } from "./wanted-records.ts";
import { WritePass } from "./write-window.ts";

/** What is on its way to the bus: when it comes back through the stream it need not be read. */
interface Sent {
  readonly bytes: Uint8Array;
  readonly there: Omit<There, "revision" | "storedAt">;
}

/** Keys of one part that are worked on at a time; how many of them are in flight the process's window bounds. */
const WRITE_WORKERS = 64;

export interface PartWriterPorts<T> {
  readonly store: Store;
  readonly spec: FencedTableSpec<T>;
  readonly part: Part;
  readonly options: HoldOptions;
  readonly wanted: WantedRecords<T>;
}

/** Brings what lies at the keys of a part to what is wanted, under a claim and only while that holds. */
export class PartWriter<T> {
  readonly #store: Store;
  readonly #spec: FencedTableSpec<T>;
  readonly #options: HoldOptions;
  /** Scopes (clusters) take turns in the process's window. */
  readonly #turn: string;
  readonly #wanted: WantedRecords<T>;
  readonly #sent = new Map<string, Sent>();
  #there = new Map<string, There>();
  readonly #queue: NewestByKey<string, true>;
  /** Under which it writes; null: it does not. */
  #under: OwnClaim | null = null;

  constructor({ store, spec, part, options, wanted }: PartWriterPorts<T>) {
    this.#store = store;
    this.#spec = spec;
    this.#options = options;
    this.#turn = `${spec.name} ${part.scope}`;
    this.#wanted = wanted;
    this.#queue = new NewestByKey({ groupOf: spec.keys.turnOf });
  }

  /** Until the signal aborts. */
  run(signal: AbortSignal): Promise<void> {
    return this.#queue.run(WRITE_WORKERS, signal, (key) => this.#write(key));
  }

  /** From now on differences are written. */
  begin(own: OwnClaim): void {
    this.#under = own;
  }

  /** From now on nothing is written that was not on its way already. */
  end(): void {
    this.#under = null;
  }

  /** Keys that wait to be written. */
  get pending(): number {
    return this.#queue.size;
  }

  /** Resolves when every difference known now is written. */
  async idle(): Promise<void> {
    await this.#queue.idle();
  }

  get occupied(): boolean {
    for (const { text } of this.#there.values()) if (text !== null) return true;
    return false;
  }

  /** What everybody who wrote the part had acted upon; see TakenOver. */
  get sources(): ReadonlyMap<string, number> | null {
    return sourcesOf(this.#there.values());
  }

  /** Whether anything lies at the key, be it a tombstone. */
  has(key: string): boolean {
    return this.#there.has(key);
  }

  *unwritten(): Generator<readonly [key: string, published: T | undefined]> {
    for (const [key, there] of this.#there) {
      if (there.text && this.#wanted.get(key)?.text !== there.text) yield [key, recordOf(there) as T];
    }
    for (const key of this.#wanted.keys()) if (!this.#there.get(key)?.text) yield [key, undefined];
  }

  /** Something else is wanted of a key. */
  changed(key: string, trace: Trace | undefined): void {
    if (this.#under !== null) this.#queue.set(key, true, trace === undefined ? "backlog" : "live");
  }

  /** Compares the keys that it is asked for again. */
  recheck(concerns: (key: string) => boolean): void {
    if (this.#under === null) return;
    for (const key of this.#wanted.keys()) if (concerns(key)) this.#queue.set(key, true, "backlog");
    for (const key of this.#there.keys()) {
      if (!this.#wanted.has(key) && concerns(key)) this.#queue.set(key, true, "backlog");
    }
  }

  /** Brings the whole part in order, rank by rank. */
  async settle(signal: AbortSignal): Promise<void> {
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

  // --- what the table says ------------------------------------------------------------------------------------------

  restart(): void {
    this.#there = new Map();
  }

  note(entry: StoredEntry): void {
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
    if (this.#under !== null) this.#queue.set(entry.key, true, "backlog");
  }

  // --- writing one key ----------------------------------------------------------------------------------------------

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
    /** Over which revision a write went out that nobody answered: for as long as that is there, it may land. */
    let unanswered: number | null = null;
    for (;;) {
      const own = this.#under;
      if (own === null || own.signal.aborted) return;
      // Nobody has heard us for so long that somebody else may hold the part by now: our claim may be worth nothing.
      if (!turns.alive) {
        pass.leave();
        await turns.changed(own.signal).catch(() => {});
        continue;
      }
      const wanted = this.#wanted.get(key);
      const there = this.#there.get(key);
      if (!this.#differs(own, wanted, there) && unanswered !== (there?.revision ?? 0)) {
        this.#wanted.removed(key);
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
      const live = this.#traceOf(key, wanted) !== undefined;
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
        unanswered = there?.revision ?? 0;
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

  #traceOf(key: string, wanted: Wanted | undefined): Trace | undefined {
    return wanted === undefined ? this.#wanted.removeTrace(key) : wanted.trace;
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
    const trace = this.#published(this.#traceOf(key, wanted));
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
    if (wanted === undefined) this.#wanted.removed(key);
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

  // --- removing one -------------------------------------------------------------------------------------------------

  /** Removes old tombstones by their sequence, never by key, and only ours or our predecessors' valid ones. */
  async reap(own: OwnClaim, signal: AbortSignal): Promise<void> {
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
}

/** Whether an answer is from before what is known of a key. Only a tombstone is ever removed, and only by its age. */
function isOlder(found: StoredEntry | null, known: There | undefined): boolean {
  if (known === undefined) return false;
  return found === null ? known.text !== null : found.revision < known.revision;
}
