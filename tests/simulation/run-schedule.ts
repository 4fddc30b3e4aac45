import { type Schedule, SETTLED_MS } from "./generate.ts";
import type { Violation } from "./violation.ts";
import { runUnder } from "./virtual-globals.ts";
import { VirtualTime } from "./virtual-time.ts";
import { World } from "./world.ts";

export interface Outcome {
  readonly violation: Violation | null;
  /** Of everything that happened: the same again for the same schedule. */
  readonly hash: string;
  /** Virtual time, ms. */
  readonly tookMs: number;
  readonly happenings: number;
  /** What happened, when it was asked for. */
  readonly lines: readonly string[];
}

/** Everything that was wrong is well again by then, ms after the last step; only then the bound begins. */
const HEALED_MS = 15_000;
/** Once nothing is wrong any more, every nginx has to be right within this, ms. */
const BOUND_MS = 120_000;
/** And to stay right, ms. */
const STAY_MS = 4000;
const LOOK_MS = 500;

/** Runs one schedule to its end, or to the first violation. */
export async function runSchedule(
  schedule: Schedule,
  options: { keepTrace?: boolean } = {},
): Promise<Outcome> {
  const time = new VirtualTime();
  runUnder(time);
  const world = new World(time, {
    seed: schedule.seed,
    crew: schedule.crew,
    keepTrace: options.keepTrace ?? false,
  });
  const violation = (): Violation | null => world.violations[0] ?? world.checks.violations[0] ?? null;
  let last = SETTLED_MS;
  await time.run(SETTLED_MS);
  for (const step of schedule.steps) {
    await time.run(step.at + world.sleptMs);
    if (violation() !== null) break;
    world.do(step);
    last = Math.max(last, step.at + ("forMs" in step ? step.forMs : 0));
  }
  if (violation() === null) await converge(world, last, violation);
  const found = violation();
  if (found === null) await world.end();
  return {
    violation: found ?? violation(),
    hash: world.trace.hash,
    tookMs: time.now,
    happenings: time.ran,
    lines: world.trace.lines,
  };
}

async function converge(world: World, last: number, violation: () => Violation | null): Promise<void> {
  const { time } = world;
  await time.run(last + world.sleptMs);
  const deadline = time.now + HEALED_MS + BOUND_MS;
  let rightSince = Number.POSITIVE_INFINITY;
  while (violation() === null) {
    const differences = world.differences();
    if (differences.length === 0) {
      rightSince = Math.min(rightSince, time.now);
      if (time.now - rightSince >= STAY_MS) return;
    } else {
      rightSince = Number.POSITIVE_INFINITY;
      if (time.now >= deadline) {
        const waited = `${(HEALED_MS + BOUND_MS) / 1000} s after the last fault`;
        const what = `${waited}: ${differences.slice(0, 3).join("; ")}`;
        world.violations.push({ name: "convergence", at: time.now, what });
        return;
      }
    }
    await time.run(time.now + LOOK_MS);
  }
}
