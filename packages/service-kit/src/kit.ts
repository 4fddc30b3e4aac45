import { type Clock, slept, systemClock } from "./clock.ts";
import { Health } from "./health.ts";
import { type Logger, silentLogger } from "./logger.ts";
import { Metrics } from "./metrics.ts";
import { type Random, systemRandom } from "./random.ts";

/** What every service and every long-lived part gets from whoever wires it. */
export interface Kit {
  readonly log: Logger;
  readonly metrics: Metrics;
  readonly clock: Clock;
  readonly random: Random;
  readonly health: Health;
  readonly signal: AbortSignal;
  /** Waits as long as a benchmark's `--inject STAGE=…` asks for this stage; nothing otherwise. */
  injectDelay(): Promise<void>;
}

export interface KitOptions {
  readonly service: string;
  readonly signal: AbortSignal;
  readonly log?: Logger;
  readonly clock?: Clock;
  readonly random?: Random;
  readonly metrics?: Metrics;
  readonly health?: Health;
  /** Milliseconds that `injectDelay` waits; 0 by default. */
  readonly injectDelayMs?: number;
}

export function createKit(options: KitOptions): Kit {
  const clock = options.clock ?? systemClock;
  const delayMs = options.injectDelayMs ?? 0;
  const nothing = Promise.resolve();
  return {
    log: options.log ?? silentLogger,
    metrics: options.metrics ?? new Metrics(options.service),
    clock,
    random: options.random ?? systemRandom,
    health: options.health ?? new Health(),
    signal: options.signal,
    injectDelay: () => (delayMs === 0 ? nothing : slept(clock, delayMs, options.signal).then(() => {})),
  };
}
