/** Keys to be looked at, each at most once in a while; the first time after a rest, at once. */
export class RestingKeys {
  readonly #restMs: number;
  readonly #waiting = new Set<string>();
  /** When a key was given out; those that rest. */
  readonly #given = new Map<string, number>();

  constructor(restMs: number) {
    this.#restMs = restMs;
  }

  /** Keys that wait. */
  get size(): number {
    return this.#waiting.size;
  }

  add(key: string): void {
    this.#waiting.add(key);
  }

  /** Those that wait and do not rest; they rest from now on. @param now monotonic, ms */
  take(now: number): string[] {
    for (const [key, at] of this.#given) if (now - at >= this.#restMs) this.#given.delete(key);
    const due = [...this.#waiting].filter((key) => !this.#given.has(key));
    for (const key of due) {
      this.#waiting.delete(key);
      this.#given.set(key, now);
    }
    return due;
  }
}
