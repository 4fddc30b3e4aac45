/** Map of sets that forgets empty sets. */
export class SetIndex {
  readonly #sets = new Map<string, Set<string>>();
  keys(): MapIterator<string> {
    return this.#sets.keys();
  }
  get(key: string): ReadonlySet<string> {
    return this.#sets.get(key) ?? new Set();
  }
  add(key: string, value: string): void {
    const set = this.#sets.get(key);
    if (set === undefined) this.#sets.set(key, new Set([value]));
    else set.add(value);
  }
  delete(key: string, value: string): void {
    const set = this.#sets.get(key);
    if (set?.delete(value) && set.size === 0) this.#sets.delete(key);
  }
}
