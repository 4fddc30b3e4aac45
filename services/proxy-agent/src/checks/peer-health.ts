import type { HealthCheck } from "@sluice/contracts";

/** What is known of one peer by checks: it is in until it has missed so many in a row, then out until it has passed so many. */
export class PeerHealth {
  #out = false;
  /** Checks in a row that said the contrary of what holds. */
  #contrary = 0;

  get out(): boolean {
    return this.#out;
  }

  /** The last check said what holds. */
  get certain(): boolean {
    return this.#contrary === 0;
  }

  /** @returns whether it has just gone out, or come back */
  note(passed: boolean, { misses, passes }: Pick<HealthCheck, "misses" | "passes">): boolean {
    if (passed !== this.#out) {
      this.#contrary = 0;
      return false;
    }
    this.#contrary += 1;
    if (this.#contrary < (this.#out ? passes : misses)) return false;
    this.#out = !this.#out;
    this.#contrary = 0;
    return true;
  }
}
