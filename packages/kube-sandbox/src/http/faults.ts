/** What can be wrong with a cluster's API, on demand. `reset` and `gone` happen once, the others last until `none`. */
export type ApiFault = "none" | "refuse" | "hang" | "reset" | "gone" | "unauthorized" | "slow";
/** What can be wrong with a cluster's pods; the node that runs them listens. */
export type PodFault = "none" | "hang" | "refuse";

export const API_FAULTS: readonly ApiFault[] = [
  "none",
  "refuse",
  "hang",
  "reset",
  "gone",
  "unauthorized",
  "slow",
];
export const POD_FAULTS: readonly PodFault[] = ["none", "hang", "refuse"];

/** A valve in the way of every byte that the server writes: closed while it hangs, delayed while it is slow. */
export class Gate {
  #closed: PromiseWithResolvers<void> | undefined;
  delayMs = 0;

  get closed(): boolean {
    return this.#closed !== undefined;
  }

  close(): void {
    this.#closed ??= Promise.withResolvers<void>();
  }

  open(): void {
    this.#closed?.resolve();
    this.#closed = undefined;
  }

  /** Resolves when answers may be written again; at once, and synchronously known by `clear`, when nothing is wrong. */
  async pass(): Promise<void> {
    while (this.#closed !== undefined) await this.#closed.promise;
    if (this.delayMs > 0) await new Promise((resolve) => setTimeout(resolve, this.delayMs));
  }

  get clear(): boolean {
    return this.#closed === undefined && this.delayMs === 0;
  }
}
