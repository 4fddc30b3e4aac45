import type { Reflector, ServiceExport } from "@sluice/kube";
import type { Kit } from "@sluice/service-kit";

/** What one claim knows of the exports. */
export interface ExportsOfClaim {
  /** They were read under this claim: that one is missing is knowledge. */
  readonly whole: boolean;
  /** Resolves once they are; rejects when the claim is lost before. */
  readonly done: Promise<void>;
  /** What they are read by. */
  read(reading: Promise<void>): void;
}

/**
 * Exports may not be served at all: their CRD comes with Karmada or the MCS API. A holder must not wait for them for
 * ever, and must not take their absence for knowledge either.
 */
export class ExportsKnown {
  readonly #exports: Reflector<ServiceExport>;
  readonly #kit: Pick<Kit, "log">;
  readonly #waiters = new Set<() => void>();

  constructor(exports: Reflector<ServiceExport>, kit: Pick<Kit, "log">) {
    this.#exports = exports;
    this.#kit = kit;
  }

  /** @param onWhole called once they are known, so that what was left alone is looked at again */
  begin(onWhole: () => void): ExportsOfClaim {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    // Whoever awaits it is told; with the CRD away nobody may.
    promise.catch((err: unknown) => this.#kit.log.debug({ err }, "exports were not read under this claim"));
    let whole = false;
    return {
      get whole() {
        return whole;
      },
      done: promise,
      read(reading) {
        reading.then(() => {
          whole = true;
          onWhole();
          resolve();
        }, reject);
      },
    };
  }

  /** Resolves once they have been listed, or are not served. */
  async listed(signal: AbortSignal): Promise<void> {
    await Promise.race([this.#exports.listed(signal), this.#notServed(signal)]);
  }

  /** Resolves once the claim knows them, or they are not served. */
  async read(known: ExportsOfClaim, signal: AbortSignal): Promise<void> {
    await Promise.race([known.done, this.#notServed(signal)]);
  }

  stateChanged(): void {
    for (const wake of [...this.#waiters]) wake();
  }

  async #notServed(signal: AbortSignal): Promise<void> {
    while (this.#exports.state.kind !== "waiting-for-resource") {
      signal.throwIfAborted();
      const { promise, resolve, reject } = Promise.withResolvers<void>();
      const abort = () => reject(signal.reason);
      this.#waiters.add(resolve);
      signal.addEventListener("abort", abort, { once: true });
      await promise.finally(() => {
        this.#waiters.delete(resolve);
        signal.removeEventListener("abort", abort);
      });
    }
  }
}
