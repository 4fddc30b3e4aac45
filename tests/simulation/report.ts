import { generate, type Schedule } from "./generate.ts";
import { type Outcome, runSchedule } from "./run-schedule.ts";
import { shrink } from "./shrink.ts";
import { CREW } from "./topology.ts";

/** A violation that was found, with as few steps as it needs. */
export interface Report {
  readonly schedule: Schedule;
  readonly outcome: Outcome;
  /** Steps of the schedule that it was found with, and schedules that were run to shrink it. */
  readonly steps: number;
  readonly tries: number;
}

/** Runs the schedule of a seed. @returns null when nothing was violated */
export async function reportOf(seed: string): Promise<Report | null> {
  const schedule = generate(seed, { crew: CREW });
  const found = await runSchedule(schedule);
  if (found.violation === null) return null;
  const shrunk = await shrink(schedule, found.violation.name, found);
  const { tries } = shrunk;
  // What a bad object held up is told as that.
  const outcome = renamed(shrunk.schedule, shrunk.outcome);
  return { schedule: shrunk.schedule, outcome, steps: schedule.steps.length, tries };
}

function renamed({ steps }: Schedule, outcome: Outcome): Outcome {
  const { violation } = outcome;
  if (violation?.name !== "convergence" || !steps.some((step) => step.do.startsWith("bad-"))) return outcome;
  return { ...outcome, violation: { ...violation, name: "bad-object-blocks" } };
}
