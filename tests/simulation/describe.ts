import type { Schedule } from "./generate.ts";
import type { Outcome } from "./run-schedule.ts";
import { inWords } from "./steps.ts";

/** A schedule and what came of it, for people. */
export function describe({ seed, steps }: Schedule, { violation, hash, tookMs }: Outcome): string[] {
  const time = (ms: number) => `${(ms / 1000).toFixed(3)} s`.padStart(12);
  return [
    violation === null ? `seed ${seed}: nothing was violated` : `seed ${seed}: VIOLATION ${violation.name}`,
    ...steps.map((step) => `${time(step.at)}  ${inWords(step)}`),
    ...(violation === null ? [] : [`${time(violation.at)}  ${violation.what}`]),
    `  ${(tookMs / 1000).toFixed(1)} s of virtual time, hash of all events ${hash}`,
  ];
}
