import type { IntentRecord } from "@sluice/contracts";

/** What was last said of one order: that it stands, or that it was taken back. */
export interface Word {
  /** undefined: taken back, or never given. */
  readonly intent: IntentRecord | undefined;
  /** Rises with every word about the same order, whoever speaks and whatever the table has lost; 0: nobody has spoken. */
  readonly generation: number;
}

interface Lying {
  readonly revision: number;
  readonly generation: number;
}

/**
 * The newest word about each order that this process has ever read, and what lies in the table now. Both differ once the
 * table has lost something, or has something that was on its way for too long.
 */
export class OrderBook {
  readonly #newest = new Map<string, Word>();
  #lying = new Map<string, Lying>();
  readonly #standing = new Map<string, IntentRecord>();

  /** Orders that stand, by key. */
  get standing(): ReadonlyMap<string, IntentRecord> {
    return this.#standing;
  }

  /** A snapshot of the table begins. */
  restart(): void {
    this.#lying = new Map();
  }

  /** @param intent undefined: a tombstone */
  note(key: string, intent: IntentRecord | undefined, { revision, generation }: Lying): void {
    this.#lying.set(key, { revision, generation });
    if (generation < this.newest(key).generation) return;
    this.#newest.set(key, { intent, generation });
    if (intent === undefined) this.#standing.delete(key);
    else this.#standing.set(key, intent);
  }

  /** Something lies there that nobody can read: whatever was said before it is newer. */
  noteUnreadable(key: string, revision: number): void {
    this.#lying.set(key, { revision, generation: 0 });
  }

  newest(key: string): Word {
    return this.#newest.get(key) ?? { intent: undefined, generation: 0 };
  }

  /** Of what lies at a key of the table; 0: nothing. */
  revisionOf(key: string): number {
    return this.#lying.get(key)?.revision ?? 0;
  }

  /** Words that the table lacks, or has an older one in place of. */
  *missing(): Generator<[key: string, word: Word]> {
    for (const [key, word] of this.#newest) {
      if ((this.#lying.get(key)?.generation ?? 0) < word.generation) yield [key, word];
    }
  }

  get complete(): boolean {
    return this.missing().next().done === true;
  }
}
