/** Why a process is not ready, by part; empty means ready. */
export class Health {
  readonly #waiting = new Map<string, string>();
  #failed: string | null = null;
  #listeners = new Set<() => void>();

  /** `reason` null: that part is well. */
  set(part: string, reason: string | null): void {
    if (reason === null) this.#waiting.delete(part);
    else this.#waiting.set(part, reason);
    for (const listener of this.#listeners) listener();
  }

  /** The process cannot go on: /livez fails and whoever supervises it starts it anew. */
  fail(reason: string): void {
    this.#failed = reason;
    for (const listener of this.#listeners) listener();
  }

  get live(): string | null {
    return this.#failed;
  }

  get waiting(): ReadonlyMap<string, string> {
    return this.#waiting;
  }

  get ready(): boolean {
    return this.#waiting.size === 0 && this.#failed === null;
  }

  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }
}
