import type { Epoch, KeySpace, Part, Trace } from "@sluice/contracts";
import { sameJson } from "./same-json.ts";

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
}

/** A key to be asked for, and what its asker knew: an answer to what is no longer the question is no answer. */
export interface Question {
  readonly key: string;
  /** Of the claim under which its part is settled. */
  readonly claimId: string;
  /** Revision of the record that was delivered last; 0: none since the snapshot began. */
  readonly delivered: number;
}

/**
 * What readers of a table believe: pure, no I/O. A record is judged once, when it is delivered: it is current if its
 * epoch is that of the highest claim of its part delivered so far, that claim was made under the newest layout and in
 * the servers' present life. A current record counts at once. Any other changes nothing, but may fill a gap. What is
 * held without a current record behind it is asked for by key once the part is settled. Nothing else removes.
 *
 * The rules were found with a model checker over millions of random schedules of crashes, restores, delayed writes
 * and readers that start again; docs/ordering-and-fencing.md names the schedule that each rule is for.
 */
export class Believer<T> {
  readonly #keys: KeySpace;
  readonly #wholeAt: number;
  readonly #held = new Map<string, Held<T>>();
  #boot = "";
  #raw = new Map<string, Raw<T>>();
  #claims = new Map<string, SeenClaim>();
  #layouts = new Map<string, { n: number; shards: number }>();
  #synced = new Map<string, string>();
  /** Parts and scopes that were settled at some time since this reader began, in whatever life of the servers. */
  readonly #knownOnce = new Set<string>();
  /** Keys whose held value, or whose delivered record, still has to be confirmed. */
  readonly #doubtful = new Set<string>();
  /** The same by part, so that doubts of parts that are not settled cost nothing; null: not sorted since a layout. */
  #doubtfulByPart: Map<string, Set<string>> | null = null;

  /** @param wholeAt see ViewOptions.wholeAt */
  constructor(keys: KeySpace, initial: Iterable<readonly [string, T]> = [], wholeAt = 0) {
    this.#keys = keys;
    this.#wholeAt = wholeAt;
    for (const [key, value] of initial) {
      this.#held.set(key, { value });
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
    this.#doubtfulByPart = null;
    for (const key of this.#held.keys()) this.#doubtful.add(key);
  }

  claim(part: Part, claim: SeenClaim): void {
    const id = partId(part);
    if ((this.#claims.get(id)?.n ?? 0) < claim.n) this.#claims.set(id, claim);
    this.#note(part);
  }

  layout(scope: string, n: number, shards: number): void {
    if ((this.#layouts.get(scope)?.n ?? 0) >= n) return;
    this.#layouts.set(scope, { n, shards });
    // Every key of the scope may be another part's now.
    this.#doubtfulByPart = null;
  }

  synced(part: Part, id: string): void {
    this.#synced.set(partId(part), id);
    this.#note(part);
  }

  #note(part: Part): void {
    if (!this.isSettled(part)) return;
    this.#knownOnce.add(partId(part));
    if (!this.#knownOnce.has(part.scope) && this.isScopeSettled(part.scope)) this.#knownOnce.add(part.scope);
  }

  /** Whoever has known the whole of it knows that what he does not hold was gone. */
  #mayLack(part: Part): boolean {
    return !this.#knownOnce.has(partId(part)) && !this.#knownOnce.has(part.scope);
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

  /** Every part into which a scope is cut is settled. */
  isScopeSettled(scope: string): boolean {
    const shards = this.#layouts.get(scope)?.shards ?? this.#keys.defaultShards;
    for (let shard = 0; shard < shards; shard++) {
      if (!this.isSettled({ scope, shard: this.#keys.shardAt(shard) })) return false;
    }
    return true;
  }

  /** Parts that have been claimed, whether or not they are settled. */
  *parts(): Generator<Part> {
    for (const id of this.#claims.keys()) yield partOfId(id);
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
      record.revision > this.#wholeAt &&
      (newest === undefined || newest.id === record.epoch.id) &&
      this.#mayLack(part);
    if (current || fillsGap) return this.#accept(record, part);
    const same = sameValue(held, record.value);
    this.#raw.set(record.key, {
      revision: record.revision,
      epochId: record.epoch.id,
      same,
      ...(same ? {} : { value: record.value }),
    });
    if (same) this.#trust(record.key, part);
    else this.#doubt(record.key, part);
    // A record from before the newest claim is the predecessor's and waits to be asked for; one after it with another
    // epoch is stale. With the claim's own epoch it is no ex-holder's: the claim does not count since the servers began
    // another life.
    const stale = newest !== undefined && newest.id !== record.epoch.id && record.revision > newest.revision;
    return stale ? { dropped: "stale_epoch" } : null;
  }

  #doubt(key: string, part: Part): void {
    this.#doubtful.add(key);
    if (this.#doubtfulByPart !== null) addTo(this.#doubtfulByPart, partId(part), key);
  }

  #trust(key: string, part: Part): void {
    if (this.#doubtful.delete(key)) this.#doubtfulByPart?.get(partId(part))?.delete(key);
  }

  #accept(record: Delivered<T>, part: Part): Change<T> | null {
    const { key, revision, value, trace } = record;
    this.#raw.set(key, { revision, epochId: record.epoch.id, same: true });
    this.#trust(key, part);
    return this.#hold(key, value, revision, trace);
  }

  #hold(key: string, value: T | undefined, revision: number, trace?: Trace): Change<T> | null {
    const held = this.#held.get(key);
    const traced = trace === undefined ? {} : { trace };
    if (value === undefined) {
      return this.#held.delete(key) ? { key, value: undefined, revision, ...traced } : null;
    }
    if (held !== undefined && sameJson(held.value, value)) return null;
    this.#held.set(key, { value });
    return { key, value, revision, ...traced };
  }

  /** What has to be asked for now: doubtful keys of settled parts. */
  *questions(): Generator<Question> {
    if (this.#doubtful.size === 0) return;
    this.#doubtfulByPart ??= this.#sortDoubts();
    for (const [id, keys] of this.#doubtfulByPart) {
      if (keys.size === 0) continue;
      const claim = this.#claims.get(id);
      if (claim === undefined || !this.isSettled(partOfId(id))) continue;
      for (const key of keys) {
        const raw = this.#raw.get(key);
        if (raw === undefined ? !this.#held.has(key) : raw.same) continue;
        yield { key, claimId: claim.id, delivered: raw?.revision ?? 0 };
      }
    }
  }

  #sortDoubts(): Map<string, Set<string>> {
    const sorted = new Map<string, Set<string>>();
    for (const key of this.#doubtful) {
      const part = this.partOf(key);
      if (part !== null) addTo(sorted, partId(part), key);
    }
    return sorted;
  }

  /** What the server says of a key that was asked for: its newest revision, or null when nothing is there. */
  answer(question: Question, revision: number | null): Change<T> | null {
    const { key } = question;
    const part = this.partOf(key);
    if (part === null || !this.#doubtful.has(key)) return null;
    const claim = this.#validClaim(part);
    if (claim === null || claim.id !== question.claimId || !this.isSettled(part)) return null;
    const raw = this.#raw.get(key);
    // Something was delivered since: that is newer than the answer, and is judged by itself.
    if ((raw?.revision ?? 0) !== question.delivered) return null;
    if (revision === null) {
      this.#trust(key, part);
      return this.#hold(key, undefined, claim.revision);
    }
    if (raw !== undefined && raw.revision === revision && revision < claim.revision) {
      this.#raw.set(key, { revision, epochId: raw.epochId, same: true });
      this.#trust(key, part);
      return this.#hold(key, raw.value, revision);
    }
    return null;
  }

  /** What is held at a key, or that nothing is, may be older than what was delivered, or was not delivered again yet. */
  isDoubtful(key: string): boolean {
    return this.#doubtful.has(key);
  }

  get doubts(): number {
    return this.#doubtful.size;
  }
}

function partId(part: Part): string {
  return `${part.scope}/${part.shard}`;
}

function partOfId(id: string): Part {
  const at = id.lastIndexOf("/");
  return { scope: id.slice(0, at), shard: id.slice(at + 1) };
}

function addTo(groups: Map<string, Set<string>>, id: string, key: string): void {
  const group = groups.get(id);
  if (group === undefined) groups.set(id, new Set([key]));
  else group.add(key);
}

function sameValue<T>(held: Held<T> | undefined, value: T | undefined): boolean {
  if (held === undefined || value === undefined) return held === undefined && value === undefined;
  return sameJson(held.value, value);
}
