import CircuitBreaker from "opossum";
import { type Clock, systemClock } from "./clock.ts";
import { TimeLimit } from "./time-limit.ts";

export interface GuardOptions {
  /** Name for logs and metrics, e.g. `hub writes`. */
  readonly name: string;
  /** Milliseconds one call may take; the action's own signal is aborted then. */
  readonly timeoutMs: number;
  /** True for an error that says nothing of the target's health (404, 409, 422). */
  isAnswer?(error: unknown): boolean;
  /** Milliseconds the breaker stays open before it lets one call try. Default 2,000. */
  readonly resetMs?: number;
  /** What `timeoutMs` is measured by; default: the system's. */
  readonly clock?: Clock;
}

export interface Guard {
  /**
   * Runs `action` unless the target has failed most of its recent calls.
   * @throws what the action throws, or opossum's `EOPENBREAKER` error while the breaker is open
   */
  run<T>(action: (signal: AbortSignal) => Promise<T>, signal: AbortSignal): Promise<T>;
  readonly open: boolean;
}

/**
 * One breaker per target for calls that can hang on somebody else. opossum's own timeout does not cancel the action,
 * so it is off and the action gets a signal with the time limit inside.
 */
export function createGuard(options: GuardOptions): Guard {
  type Action = (signal: AbortSignal) => Promise<unknown>;
  const breaker = new CircuitBreaker(
    async (action: Action, signal: AbortSignal) => {
      using limit = new TimeLimit(options.clock ?? systemClock, options.timeoutMs, signal);
      return await action(limit.signal);
    },
    {
      name: options.name,
      timeout: false,
      resetTimeout: options.resetMs ?? 2000,
      errorThresholdPercentage: 60,
      volumeThreshold: 5,
      rollingCountTimeout: 10_000,
      // Nobody reads them, and they cost a timer and a sort each second.
      enableSnapshots: false,
      rollingPercentilesEnabled: false,
      errorFilter: (error: unknown) => options.isAnswer?.(error) ?? false,
    },
  );
  return {
    run: async <T>(action: (signal: AbortSignal) => Promise<T>, signal: AbortSignal) =>
      (await breaker.fire(action, signal)) as T,
    get open() {
      return breaker.opened;
    },
  };
}
