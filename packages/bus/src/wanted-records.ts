import { BadRecordError, decode, type FencedTableSpec, type Trace } from "@sluice/contracts";
import type { HoldOptions } from "./hold-options.ts";

export interface Wanted {
  /** The record as JSON: what is compared, and what is written. */
  readonly text: string;
  readonly trace?: Trace;
}

/** What one process wants the keys of a part to hold. */
export class WantedRecords<T> {
  readonly #spec: FencedTableSpec<T>;
  readonly #kit: HoldOptions["kit"];
  readonly #wanted = new Map<string, Wanted>();
  /** Keys whose wanted value was refused: logged once. */
  readonly #refused = new Set<string>();
  readonly #removeTraces = new Map<string, Trace>();

  constructor(spec: FencedTableSpec<T>, kit: HoldOptions["kit"]) {
    this.#spec = spec;
    this.#kit = kit;
  }

  get size(): number {
    return this.#wanted.size;
  }

  get(key: string): Wanted | undefined {
    return this.#wanted.get(key);
  }

  has(key: string): boolean {
    return this.#wanted.has(key);
  }

  keys(): IterableIterator<string> {
    return this.#wanted.keys();
  }

  /** @returns whether something else is wanted now */
  set(key: string, value: T, trace?: Trace): boolean {
    const text = JSON.stringify(value);
    if (this.#wanted.get(key)?.text === text || !this.#fits(key, value)) return false;
    this.#removeTraces.delete(key);
    this.#wanted.set(key, { text, ...(trace === undefined ? {} : { trace }) });
    return true;
  }

  /**
   * From now on nothing is wanted of the key.
   * @param lies the table holds something there
   * @returns whether there is anything to remove
   */
  remove(key: string, lies: boolean, trace?: Trace): boolean {
    this.#refused.delete(key);
    if (!this.#wanted.delete(key) && !lies) return false;
    if (trace === undefined) this.#removeTraces.delete(key);
    else this.#removeTraces.set(key, trace);
    return true;
  }

  /** Trace of the change by which nothing is wanted of the key, until it is removed. */
  removeTrace(key: string): Trace | undefined {
    return this.#removeTraces.get(key);
  }

  removed(key: string): void {
    this.#removeTraces.delete(key);
  }

  /** What no reader would believe is not written: it is refused by name, what is there stays, nothing else waits for it. */
  #fits(key: string, value: T): boolean {
    const kit = this.#kit;
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
}
