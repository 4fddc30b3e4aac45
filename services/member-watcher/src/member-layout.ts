import type { Bus } from "@sluice/bus";
import { slicesTable } from "@sluice/contracts";

/** Into how many shards a member is cut, as the newest layout says: followed once, however many go by it. */
export class MemberLayout {
  /** Resolves when the signal has aborted and nothing runs. */
  readonly done: Promise<void>;
  readonly #followers = new Set<(shards: number) => void>();
  #shards = 0;

  /** @param wanted into how many it is to be cut; undefined: it stays as it is cut */
  constructor(bus: Bus, cluster: string, wanted: number | undefined, signal: AbortSignal) {
    this.done = bus.layout(slicesTable, cluster, {
      shards: wanted,
      signal,
      onLayout: (shards) => {
        this.#shards = shards;
        for (const tell of [...this.#followers]) tell(shards);
      },
    });
  }

  /** 0: it is not known yet. */
  get shards(): number {
    return this.#shards;
  }

  /** Tells of the layout, at once where it is known, and of each newer one; until the signal aborts. */
  follow(tell: (shards: number) => void, signal: AbortSignal): void {
    if (signal.aborted) return;
    this.#followers.add(tell);
    signal.addEventListener("abort", () => this.#followers.delete(tell), { once: true });
    if (this.#shards > 0) tell(this.#shards);
  }
}
