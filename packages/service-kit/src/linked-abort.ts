/** Made once: an error costs more than all the rest of an abort. */
const DONE = new DOMException("no longer needed", "AbortError");

/**
 * A controller whose signal also aborts with other ones. `AbortSignal.any` does the same, but keeps hold of them, and they
 * of it, until the collector comes round; this lets go when it aborts or is disposed of. For what is made often.
 */
export class LinkedAbort implements Disposable {
  readonly #controller = new AbortController();
  readonly #others: readonly AbortSignal[];

  constructor(...others: readonly AbortSignal[]) {
    this.#others = others;
    const aborted = others.find((each) => each.aborted);
    if (aborted !== undefined) this.#controller.abort(aborted.reason);
    else for (const each of others) each.addEventListener("abort", this.#follow);
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  readonly #follow = (event: Event): void => this.abort((event.target as AbortSignal).reason);

  /** @param reason default: an AbortError that says that nobody needs the work any more */
  abort(reason: unknown = DONE): void {
    this[Symbol.dispose]();
    this.#controller.abort(reason);
  }

  /** The other signals concern it no longer. */
  [Symbol.dispose](): void {
    for (const each of this.#others) each.removeEventListener("abort", this.#follow);
  }
}
