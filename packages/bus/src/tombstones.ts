import type { StoredEntry } from "./store.ts";

/** After this long a tombstone has been seen by every reader that may resume, ms. */
export const TOMBSTONE_MS = 24 * 3_600_000;
/** No tombstone is longer: it has an epoch, a trace and no data. */
const LONGEST_BYTES = 2048;
const MARK = Buffer.from('"deleted":true');

/** The tombstones of a table, for whoever removes the old ones of those who may not. */
export class Tombstones {
  readonly #known = new Map<string, { readonly revision: number; readonly storedAt: number }>();

  restart(): void {
    this.#known.clear();
  }

  /** @param stale it is an ex-holder's, and lies there until the part's holder writes over it */
  note(entry: StoredEntry, stale: boolean): void {
    const { key, revision, storedAt } = entry;
    if (!stale && isTombstone(entry.value)) this.#known.set(key, { revision, storedAt });
    else this.#known.delete(key);
  }

  /** Those that were stored before a time, in ms since 1970. */
  *due(before: number): Generator<{ readonly key: string; readonly revision: number }> {
    for (const [key, { revision, storedAt }] of this.#known) {
      if (storedAt <= before) yield { key, revision };
    }
  }

  removed(key: string, revision: number): void {
    if (this.#known.get(key)?.revision === revision) this.#known.delete(key);
  }

  get size(): number {
    return this.#known.size;
  }
}

/** Most records are told by their length or by one search; the rest is read, because a name may hold anything. */
function isTombstone(value: Uint8Array): boolean {
  if (value.byteLength > LONGEST_BYTES) return false;
  const text = Buffer.from(value.buffer, value.byteOffset, value.byteLength);
  if (!text.includes(MARK)) return false;
  return (JSON.parse(text.toString()) as { readonly deleted?: unknown }).deleted === true;
}
