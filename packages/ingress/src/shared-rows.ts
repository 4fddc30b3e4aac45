import { SetIndex } from "./set-index.ts";

/** Rows that hosts share: each is there for as long as some host uses it. */
export class SharedRows<Row> {
  readonly #idOf: (row: Row) => string;
  /** As of the last `settle`. */
  readonly #there = new Map<string, Row>();
  readonly #hosts = new SetIndex();
  readonly #touched = new Map<string, Row>();

  constructor(idOf: (row: Row) => string) {
    this.#idOf = idOf;
  }

  has(id: string): boolean {
    return this.#there.has(id);
  }

  get(id: string): Row | undefined {
    return this.#there.get(id);
  }

  /** A host uses these from now on. */
  use(host: string, before: readonly Row[] = [], after: readonly Row[]): void {
    for (const row of before) {
      const id = this.#idOf(row);
      this.#hosts.delete(id, host);
      // Another host may have said already what it is now.
      if (!this.#touched.has(id)) this.#touched.set(id, row);
    }
    for (const row of after) {
      this.#hosts.add(this.#idOf(row), host);
      this.#touched.set(this.#idOf(row), row);
    }
  }

  /** What has come into use, is another row than before, or has gone out of use, since this was last asked. */
  settle(): (readonly [id: string, row: Row, used: boolean])[] {
    const changed: [string, Row, boolean][] = [];
    for (const [id, row] of this.#touched) {
      const used = this.#hosts.get(id).size > 0;
      const there = this.#there.get(id);
      if (used ? there !== undefined && same(there, row) : there === undefined) continue;
      if (used) this.#there.set(id, row);
      else this.#there.delete(id);
      changed.push([id, row, used]);
    }
    this.#touched.clear();
    return changed;
  }
}

function same(a: unknown, b: unknown): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}
