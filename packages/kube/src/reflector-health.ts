import { SluiceError } from "@sluice/contracts";
import { Backoff } from "@sluice/service-kit";
import type { KubeLogger } from "./logger.ts";
import type { ReflectorKit, ReflectorState, ReflectorTiming } from "./reflector.ts";

/** What a reflector says of itself, and how long it waits after each kind of failure. */
export class ReflectorHealth {
  readonly #kit: ReflectorKit;
  readonly #log: KubeLogger;
  readonly #resetMs: number;
  readonly #tell: (state: ReflectorState) => void;
  readonly #failures: Backoff;
  readonly #startup: Backoff;
  readonly #missing: Backoff;
  #state: ReflectorState;
  #lastFailureAt = Number.NEGATIVE_INFINITY;

  constructor(
    kit: ReflectorKit,
    log: KubeLogger,
    timing: ReflectorTiming,
    random: () => number,
    tell: (state: ReflectorState) => void,
  ) {
    this.#kit = kit;
    this.#log = log;
    this.#resetMs = timing.resetMs;
    this.#tell = tell;
    this.#failures = new Backoff(...timing.failure, random);
    this.#startup = new Backoff(...timing.startup, random);
    this.#missing = new Backoff(...timing.missing, random);
    this.#state = { kind: "listing", since: kit.clock.now() };
  }

  get state(): ReflectorState {
    return this.#state;
  }

  /** A list was applied whole. */
  listed(): void {
    this.#missing.reset();
    this.#startup.reset();
  }

  listing(): void {
    if (this.#state.kind === "watching") this.#become({ kind: "listing" });
  }

  watching(known: number): void {
    const { kind } = this.#state;
    if (kind === "failing" || kind === "waiting-for-resource") {
      this.#log.info({ objects: known }, "watching again");
    }
    this.#become({ kind: "watching" });
  }

  /** @returns ms to wait before the kind is asked for again */
  notServed(error: Error, known: number): number {
    if (this.#state.kind !== "waiting-for-resource") {
      this.#log.info({ known }, "the API does not serve this kind, waiting for it");
    }
    this.#become({ kind: "waiting-for-resource", error: error.message });
    return this.#missing.next();
  }

  /** @param listed some list has succeeded. @returns ms to wait before the next try */
  failed(error: unknown, what: string, listed: boolean): number {
    const { metrics } = this.#kit;
    const code = error instanceof SluiceError ? error.code : "unexpected";
    metrics?.errors.inc({ error_type: code });
    const first = this.#state.kind !== "failing";
    const retryInMs = listed ? this.nextFailureMs() : this.#startup.next();
    this.#become({ kind: "failing", error: error instanceof Error ? error.message : String(error) });
    // One line an outage; the state says the rest.
    if (first) this.#log.warn({ err: error, retryInMs }, what);
    else this.#log.debug({ err: error, retryInMs }, what);
    return retryInMs;
  }

  nextFailureMs(): number {
    const now = this.#kit.clock.monotonic();
    if (now - this.#lastFailureAt > this.#resetMs) this.#failures.reset();
    this.#lastFailureAt = now;
    return this.#failures.next();
  }

  #become(state: Omit<ReflectorState, "since">): void {
    if (state.kind === this.#state.kind && state.error === this.#state.error) return;
    const since = state.kind === this.#state.kind ? this.#state.since : this.#kit.clock.now();
    this.#state = { ...state, since };
    this.#tell(this.#state);
  }
}
