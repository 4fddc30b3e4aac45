import { type Clock, LinkedAbort, slept } from "@sluice/service-kit";

/** How far a reflector has come with its lists and with resourceVersions, and who waits for it. */
export class ReflectorProgress {
  /** Ends the reflector. */
  readonly #signal: AbortSignal;
  /** Lists begun, and the number of the last one that was applied whole; 0: none. */
  #begun = 0;
  #applied = 0;
  #waiters = new Set<{ readonly from: number; resolve(): void }>();
  /** Everything up to this version has been told of. */
  #reached = -1;
  #watchers = new Set<() => void>();

  constructor(signal: AbortSignal) {
    this.#signal = signal;
  }

  /** @returns the number of the list that begins */
  begin(): number {
    return ++this.#begun;
  }

  get begun(): number {
    return this.#begun;
  }

  /** Some list has been applied whole. */
  get listed(): boolean {
    return this.#applied > 0;
  }

  /** Somebody wants a list that begins after this one. */
  wantsAfter(list: number): boolean {
    return [...this.#waiters].some((waiter) => waiter.from > list);
  }

  apply(list: number): void {
    this.#applied = list;
    for (const waiter of [...this.#waiters]) if (waiter.from <= list) waiter.resolve();
  }

  /** Resolves when a list of this number or a later one has been applied whole. Rejects when either signal aborts. */
  async list(list: number, signal: AbortSignal): Promise<void> {
    if (this.#applied >= list) return;
    signal.throwIfAborted();
    this.#signal.throwIfAborted();
    await new Promise<void>((resolve, reject) => {
      const signals = [signal, this.#signal];
      const waiter = { from: list, resolve: () => settle(resolve) };
      const abort = () => settle(() => reject(signal.aborted ? signal.reason : this.#signal.reason));
      const settle = (finish: () => void) => {
        this.#waiters.delete(waiter);
        for (const each of signals) each.removeEventListener("abort", abort);
        finish();
      };
      for (const each of signals) each.addEventListener("abort", abort, { once: true });
      this.#waiters.add(waiter);
    });
  }

  /** @param version of a list, an event or a bookmark that has been told of whole */
  note(version: number): void {
    this.#reached = version;
    for (const tell of [...this.#watchers]) tell();
  }

  /** Waits at most so long, ms. @returns whether everything up to this version has been told of */
  async version(version: number, withinMs: number, clock: Clock, signal: AbortSignal): Promise<boolean> {
    if (this.#reached >= version) return true;
    const over = new LinkedAbort(signal, this.#signal);
    let tell = () => {};
    const brought = new Promise<void>((resolve) => {
      tell = () => {
        if (this.#reached >= version) resolve();
      };
      this.#watchers.add(tell);
    });
    try {
      await Promise.race([brought, slept(clock, withinMs, over.signal)]);
    } finally {
      over.abort();
      this.#watchers.delete(tell);
    }
    signal.throwIfAborted();
    this.#signal.throwIfAborted();
    return this.#reached >= version;
  }
}
