import type { Schedule } from "./generate.ts";
import { type Outcome, runSchedule } from "./run-schedule.ts";
import type { Step } from "./steps.ts";
import type { ViolationName } from "./violation.ts";

/** Schedules that are tried at most. */
const TRIES = 300;

export interface Shrunk {
  readonly schedule: Schedule;
  readonly outcome: Outcome;
  readonly tries: number;
}

/**
 * The same violation with as few steps as can be found: delta debugging over the steps (Zeller and Hildebrandt,
 * "Simplifying and Isolating Failure-Inducing Input"), by chunks of half the list first and single steps last.
 */
export async function shrink(schedule: Schedule, name: ViolationName, first: Outcome): Promise<Shrunk> {
  let best = { schedule, outcome: first };
  let tries = 0;
  const fails = async (steps: readonly Step[]): Promise<boolean> => {
    tries++;
    const trial = { ...schedule, steps };
    const outcome = await runSchedule(trial);
    if (outcome.violation?.name !== name) return false;
    best = { schedule: trial, outcome };
    return true;
  };
  let chunk = Math.ceil(schedule.steps.length / 2);
  while (chunk >= 1 && tries < TRIES) {
    let removed = false;
    for (let at = 0; at < best.schedule.steps.length && tries < TRIES; ) {
      const { steps } = best.schedule;
      if (await fails([...steps.slice(0, at), ...steps.slice(at + chunk)])) removed = true;
      else at += chunk;
    }
    if (chunk === 1 && !removed) break;
    chunk = chunk === 1 ? 1 : Math.ceil(chunk / 2);
  }
  return { ...best, tries };
}
