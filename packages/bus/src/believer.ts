import type { Epoch, KeySpace, Part, Trace } from "@sluice/contracts";

/** A record as a reader gets it delivered: already checked against its schema. */
export interface Delivered<T> {
  readonly key: string;
  readonly revision: number;
  readonly epoch: Epoch;
  /** Absent: a tombstone. */
  readonly value?: T;
  readonly trace?: Trace;
}

/** What the reader's downstream must do. */
export interface Change<T> {
  readonly key: string;
  readonly value: T | undefined;
  readonly revision: number;
  readonly trace?: Trace;
}

interface SeenClaim {
  readonly n: number;
  readonly id: string;
  readonly boot: string;
  readonly layout: number;
  readonly revision: number;
}

interface Raw<T> {
  readonly revision: number;
  readonly epochId: string;
  /** What it says is what is held: nothing to ask. */
  same: boolean;
  /** Kept only while it is not what is held. */
  readonly value?: T | undefined;
}

interface Held<T> {
  readonly value: T;
  readonly text: string;
}

/**
 * What readers of a table believe: pure, no I/O. A record is judged once, when it is delivered: it is current if its
 * epoch is that of the highest claim of its part delivered so far, that claim was made under the newest layout and in
 * the servers' present life. A current record counts at once. Any other changes nothing, but may fill a gap. What is
 * held without a current record behind it is asked for by key once the part is settled. Nothing else removes.
 *
 * The rules were found with a model checker over millions of random schedules of crashes, restores, delayed writes
 * and readers that start again; docs/reference/bus.md names the schedule that each rule is for.
 */
export class Believer<T> {
  readonly #keys: KeySpace;
  readonly #held = new Map<string, Held<T>>();
  #boot = "";
  #raw = new Map<string, Raw<T>>();
  #claims = new Map<string, SeenClaim>();
  #layouts = new Map<string, { n: number; shards: number }>();
  #synced = new Map<string, string>();
  /** Keys whose held value, or whose delivered record, still has to be confirmed. */
  readonly #doubtful = new Set<string>();

  constructor(keys: KeySpace, initial: Iterable<readonly [string, T]> = []) {
    this.#keys = keys;
    for (const [key, value] of initial) {
      this.#held.set(key, { value, text: JSON.stringify(value) });
      this.#doubtful.add(key);
    }
  }

  get held(): ReadonlyMap<string, { readonly value: T }> {
    return this.#held;
  }

  get boot(): string {
    return this.#boot;
  }

  /** A snapshot begins: what was delivered is forgotten, what is held stays. */
  restart(boot: string): void {
    this.#boot = boot;
    this.#raw = new Map();
    this.#claims = new Map();
    this.#layouts = new Map();
    this.#synced = new Map();
    this.#doubtful.clear();
    for (const key of this.#held.keys()) this.#doubtful.add(key);
  }

  claim(part: Part, claim: SeenClaim): void {
    const id = partId(part);
    if ((this.#claims.get(id)?.n ?? 0) < claim.n) this.#claims.set(id, claim);
  }

  layout(scope: string, n: number, shards: number): void {
    if ((this.#layouts.get(scope)?.n ?? 0) < n) this.#layouts.set(scope, { n, shards });
  }

  synced(part: Part, id: string): void {
    this.#synced.set(partId(part), id);
  }

  partOf(key: string): Part | null {
    const what = this.#keys.classify(key);
    if (what.kind !== "record") return null;
    const shards = this.#layouts.get(what.scope)?.shards ?? this.#keys.defaultShards;
    return { scope: what.scope, shard: this.#keys.shardOf(what.spread, shards) };
  }

  /** The claim of a part if it holds now: made in this life of the servers and under the newest layout. */
  #validClaim(part: Part): SeenClaim | null {
    const claim = this.#claims.get(partId(part));
    if (claim === undefined || claim.boot !== this.#boot) return null;
    return claim.layout === (this.#layouts.get(part.scope)?.n ?? 0) ? claim : null;
  }

  /** From here on absence means absence. */
  isSettled(part: Part): boolean {
    const claim = this.#validClaim(part);
    return claim !== null && this.#synced.get(partId(part)) === claim.id;
  }

  /** Parts that have been claimed, whether or not they are settled. */
  *parts(): Generator<Part> {
    for (const id of this.#claims.keys()) {
      const at = id.lastIndexOf("/");
      yield { scope: id.slice(0, at), shard: id.slice(at + 1) };
    }
  }

  /** @returns the change that the record makes, or null with the reason why it makes none */
  deliver(record: Delivered<T>): Change<T> | { readonly dropped: string } | null {
    const part = this.partOf(record.key);
    if (part === null) return { dropped: "foreign_key" };
    const held = this.#held.get(record.key);
    const claim = this.#validClaim(part);
    const current = claim !== null && claim.id === record.epoch.id && record.revision > claim.revision;
    const newest = this.#claims.get(partId(part));
    const fillsGap =
      held === undefined &&
      record.value !== undefined &&
      (newest === undefined || newest.id === record.epoch.id);
    if (current || fillsGap) return this.#accept(record);
    const same = sameValue(held, record.value);
    this.#raw.set(record.key, {
      revision: record.revision,
      epochId: record.epoch.id,
      same,
      ...(same ? {} : { value: record.value }),
    });
    if (same) this.#doubtful.delete(record.key);
    else this.#doubtful.add(record.key);
    // A record from before the newest claim is the predecessor's and waits to be asked for; one after it is stale.
    return newest !== undefined && record.revision > newest.revision ? { dropped: "stale_epoch" } : null;
  }

  #accept(record: Delivered<T>): Change<T> | null {
    const { key, revision, value, trace } = record;
    this.#raw.set(key, { revision, epochId: record.epoch.id, same: true });
    this.#doubtful.delete(key);
    return this.#hold(key, value, revision, trace);
  }

  #hold(key: string, value: T | undefined, revision: number, trace?: Trace): Change<T> | null {
    const held = this.#held.get(key);
    const traced = trace === undefined ? {} : { trace };
    if (value === undefined) {
      return this.#held.delete(key) ? { key, value: undefined, revision, ...traced } : null;
    }
    const text = JSON.stringify(value);
    if (held?.text === text) return null;
    this.#held.set(key, { value, text });
    return { key, value, revision, ...traced };
  }

  /** Keys that have to be asked for now: doubtful ones of settled parts. */
  *questions(): Generator<string> {
    for (const key of this.#doubtful) {
      const part = this.partOf(key);
      if (part === null || !this.isSettled(part)) continue;
      const raw = this.#raw.get(key);
      if (raw === undefined ? this.#held.has(key) : !raw.same) yield key;
    }
  }

  /** What the server says of a key that was asked for: its newest revision, or null when nothing is there. */
  answer(key: string, revision: number | null): Change<T> | null {
    const part = this.partOf(key);
    if (part === null || !this.#doubtful.has(key)) return null;
    const claim = this.#validClaim(part);
    if (claim === null || !this.isSettled(part)) return null;
    const raw = this.#raw.get(key);
    if (revision === null) {
      this.#doubtful.delete(key);
      return this.#hold(key, undefined, claim.revision);
    }
    if (raw !== undefined && raw.revision === revision && revision < claim.revision) {
      this.#raw.set(key, { revision, epochId: raw.epochId, same: true });
      this.#doubtful.delete(key);
      return this.#hold(key, raw.value, revision);
    }
    return null;
  }

  get doubts(): number {
    return this.#doubtful.size;
  }
}

function partId(part: Part): string {
  return `${part.scope}/${part.shard}`;
}

function sameValue<T>(held: Held<T> | undefined, value: T | undefined): boolean {
  if (held === undefined || value === undefined) return held === undefined && value === undefined;
  return held.text === JSON.stringify(value);
}
