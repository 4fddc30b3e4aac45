import {
  BadRecordError,
  decodeEnvelope,
  type FencedTableSpec,
  type LogGap,
  type TableSpec,
  type TakenBack,
  type Trace,
} from "@sluice/contracts";
import { Believer, type Change } from "./believer.ts";
import { feed } from "./feed.ts";
import type { LogEntry, TableExtent } from "./log.ts";
import type { StoredEntry } from "./store.ts";

/** A change of what is believed of a table, with what was believed before. */
export interface PastChange {
  readonly table: string;
  readonly key: string;
  readonly before: unknown;
  /** undefined: it is gone. */
  readonly after: unknown;
  /** Of the record; of the claim where an absence was believed. */
  readonly revision: number;
  readonly trace?: Trace;
  /** Of an order that is gone. */
  readonly takenBack?: TakenBack;
}

export type GapReason = LogGap["reason"];

export interface PastTableOutcome {
  readonly changes: readonly PastChange[];
  readonly gap: GapReason | null;
}

const nothing: PastTableOutcome = { changes: [], gap: null };

/**
 * One table as it was: its records folded by key, and what readers believed of them. First `load` and `fold` bring the
 * records to a sequence of the log, then `begin` believes them, then `apply` takes it further, entry by entry. Pure.
 */
export class PastTable {
  readonly spec: TableSpec;
  readonly #raw = new Map<string, StoredEntry>();
  #believer: Believer<unknown> | null = null;
  readonly #plain = new Map<string, unknown>();
  #boot = "";
  #begun = false;
  /** Of what the log, or a checkpoint, has shown last. */
  #reached = { life: "", revision: 0, late: false };

  constructor(spec: TableSpec) {
    this.spec = spec;
    if (isFenced(spec)) this.#believer = new Believer(spec.keys);
  }

  /** The newest record of each key. */
  get raw(): ReadonlyMap<string, StoredEntry> {
    return this.#raw;
  }

  /** What readers believed. */
  *believed(): Generator<[key: string, value: unknown]> {
    if (this.#believer === null) yield* this.#plain;
    else for (const [key, { value }] of this.#believer.held) yield [key, value];
  }

  get(key: string): unknown {
    return this.#believer === null ? this.#plain.get(key) : this.#believer.held.get(key)?.value;
  }

  get settled(): boolean {
    const believer = this.#believer;
    if (believer === null) return true;
    for (const part of believer.parts()) if (believer.isSettled(part)) return true;
    return false;
  }

  /** A record of a checkpoint. */
  load(entry: StoredEntry): void {
    this.#raw.set(entry.key, entry);
  }

  /** How far the table was when the checkpoint was read. */
  loaded({ life, revision }: TableExtent): void {
    this.#reached = { life, revision, late: false };
  }

  /** An entry that the checkpoint may hold already. */
  fold(entry: LogEntry): GapReason | null {
    // Until the checkpoint is whole, what it holds is ahead of the log.
    const { life, revision } = this.#reached;
    const known = life === entry.life && entry.revision <= revision;
    const gap = known ? null : this.#continuity(entry);
    if ((this.#raw.get(entry.key)?.revision ?? 0) <= entry.revision) this.#raw.set(entry.key, stored(entry));
    return gap;
  }

  /** From here on it is believed. */
  begin(boot: string): void {
    this.#begun = true;
    this.life(boot);
    if (this.#believer === null) for (const entry of this.#raw.values()) this.#applyPlain(entry);
  }

  /** The servers began another life: readers begin anew with what is there, and keep what they have. */
  life(boot: string): readonly PastChange[] {
    this.#boot = boot;
    return this.#begun && this.#believer !== null ? this.#restart() : [];
  }

  apply(entry: LogEntry): PastTableOutcome {
    const gap = this.#continuity(entry);
    if ((this.#raw.get(entry.key)?.revision ?? 0) >= entry.revision) return nothing;
    const restarted = gap === "wiped" && this.#believer !== null ? this.#restart() : [];
    const kept = stored(entry);
    this.#raw.set(entry.key, kept);
    const changes = [...restarted, ...this.#feed(kept)];
    return gap === null && changes.length === 0 ? nothing : { changes, gap };
  }

  /**
   * The server numbers what it stores without a hole, and the log keeps that order. What it was told late may lack
   * what was replaced meanwhile; what is of another life is of a bucket that began anew, or of an older copy of it.
   */
  #continuity(entry: LogEntry): GapReason | null {
    const { life, revision, key, previous, late } = entry;
    const { life: lifeBefore, revision: before, late: lateBefore } = this.#reached;
    this.#reached = { life, revision: Math.max(revision, life === lifeBefore ? before : 0), late };
    if (this.spec.name === "boot") return null;
    if (lifeBefore !== "" && life !== lifeBefore) {
      this.#raw.clear();
      return "wiped";
    }
    // The log has begun with what there was.
    if (before === 0 || revision <= before) return null;
    if (late) return lateBefore ? null : "missing";
    if (this.spec.logged?.includes(">") === true) return revision > before + 1 ? "missing" : null;
    // Not all of its records are logged: what each key had before has to do.
    if (!this.#begun || previous === 0) return null;
    return this.#raw.get(key)?.revision === previous ? null : "missing";
  }

  #restart(): PastChange[] {
    const changes: PastChange[] = [];
    this.#believer?.restart(this.#boot);
    const inOrder = [...this.#raw.values()].sort((a, b) => a.revision - b.revision);
    for (const entry of inOrder) changes.push(...this.#deliver(entry));
    changes.push(...this.#ask());
    return changes;
  }

  #feed(entry: StoredEntry): PastChange[] {
    if (this.#believer === null) return this.#applyPlain(entry);
    return [...this.#deliver(entry), ...this.#ask()];
  }

  #deliver(entry: StoredEntry): PastChange[] {
    const { spec } = this;
    const believer = this.#believer;
    if (believer === null || !isFenced(spec)) return [];
    const before = believer.held.get(entry.key)?.value;
    try {
      const fed = feed(believer, spec, entry);
      return fed.kind === "record" && fed.change !== null ? [this.#changed(fed.change, before)] : [];
    } catch (error) {
      // Readers left it out as well.
      if (error instanceof BadRecordError) return [];
      throw error;
    }
  }

  /** Readers ask the server by key; here its answer is what the log says was there. */
  #ask(): PastChange[] {
    const believer = this.#believer;
    if (believer === null || believer.doubts === 0) return [];
    const changes: PastChange[] = [];
    for (const question of [...believer.questions()]) {
      const before = believer.held.get(question.key)?.value;
      const change = believer.answer(question, this.#raw.get(question.key)?.revision ?? null);
      if (change !== null) changes.push(this.#changed(change, before));
    }
    return changes;
  }

  #changed({ key, value, revision, trace }: Change<unknown>, before: unknown): PastChange {
    const traced = trace === undefined ? {} : { trace };
    return { table: this.spec.name, key, before, after: value, revision, ...traced };
  }

  #applyPlain(entry: StoredEntry): PastChange[] {
    const { key, revision } = entry;
    const schema = this.spec.schemaOf(key);
    if (schema === null) return [];
    const before = this.#plain.get(key);
    try {
      const { data, deleted, trace, takenBack } = decodeEnvelope(
        schema,
        entry.value,
        `${this.spec.name}/${key}`,
      );
      if (deleted === true) this.#plain.delete(key);
      else this.#plain.set(key, data);
      const change = this.#changed(
        { key, value: data, revision, ...(trace === undefined ? {} : { trace }) },
        before,
      );
      return [takenBack === undefined ? change : { ...change, takenBack }];
    } catch (error) {
      if (error instanceof BadRecordError) return [];
      throw error;
    }
  }
}

/** A copy: what came from the bus is a view of all that was read at once, tens of kilobytes, and would keep that. */
function stored({ key, value, revision, at }: LogEntry): StoredEntry {
  return { key, value: new Uint8Array(value), revision, storedAt: at };
}

function isFenced(spec: TableSpec): spec is FencedTableSpec {
  return spec.keys !== undefined;
}
