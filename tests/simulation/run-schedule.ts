import { createLogger, type Logger } from "@sluice/service-kit";
import { EventTrace } from "./event-trace.ts";
import { type Schedule, SETTLED_MS } from "./generate.ts";
import type { Violation } from "./violation.ts";
import { runUnder } from "./virtual-globals.ts";
import { RunsHotError, VirtualTime } from "./virtual-time.ts";
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
/**
 * Once nothing is wrong any more, every nginx has to be right within this, ms: a list that began while lists got stuck is
 * given up after 30 s, and asked for again within ten.
 */
const BOUND_MS = 45_000;
/** And to stay right, ms. */
const STAY_MS = 3000;
const LOOK_MS = 500;

export interface RunOptions {
  /** Keep everything that happened as lines, with what the processes log. */
  readonly keepTrace?: boolean;
  /** Once nothing is wrong any more, everything has to be right within this, ms; default 45,000. */
  readonly boundMs?: number;
}

/** Runs one schedule to its end, or to the first violation. */
export async function runSchedule(schedule: Schedule, options: RunOptions = {}): Promise<Outcome> {
  const { keepTrace = false, boundMs = BOUND_MS } = options;
  // Half of what an error costs is its stack, and every timeout of a schedule makes some.
  Error.stackTraceLimit = keepTrace ? 10 : 0;
  const time = new VirtualTime();
  const trace = new EventTrace(keepTrace);
  runUnder(time);
  const world = new World(time, {
    seed: schedule.seed,
    crew: schedule.crew,
    trace,
    ...(keepTrace ? { log: await logInto(trace, time) } : {}),
  });
  const violation = (): Violation | null => world.violations[0] ?? world.checks.violations[0] ?? null;
  try {
    await play(world, schedule, boundMs, violation);
  } catch (error) {
    if (!(error instanceof RunsHotError)) throw error;
    world.violations.push({ name: "runs-hot", at: time.now, what: error.message });
  }
  return {
    violation: violation(),
    hash: world.trace.hash,
    tookMs: time.now,
    happenings: time.ran,
    lines: world.trace.lines,
  };
}

/** What the processes log, as lines of the trace. */
async function logInto(trace: EventTrace, time: VirtualTime): Promise<Logger> {
  const write = (line: string) => {
    const { level, process, msg, time: _time, service: _service, ...rest } = JSON.parse(line);
    trace.say(time.now, `    ${process} ${level}: ${msg ?? ""} ${JSON.stringify(rest)}`);
  };
  return createLogger({ service: "simulation", level: "debug", destination: { write } });
}

async function play(
  world: World,
  schedule: Schedule,
  boundMs: number,
  violation: () => Violation | null,
): Promise<void> {
  const { time } = world;
  let last = SETTLED_MS;
  await time.run(SETTLED_MS);
  for (const step of schedule.steps) {
    await time.run(step.at + world.sleptMs);
    if (violation() !== null) return;
    world.do(step);
    // A sleep is over when its step is.
    const lasts = "forMs" in step && step.do !== "sleep-all" ? step.forMs : 0;
    last = Math.max(last, time.now + lasts);
  }
  await converge(world, last, boundMs, violation);
  if (violation() !== null) return;
  await world.end();
  const [foreign] = world.foreignWrites();
  if (foreign !== undefined) world.violations.push({ name: "foreign-write", at: time.now, what: foreign });
}

async function converge(
  world: World,
  last: number,
  boundMs: number,
  violation: () => Violation | null,
): Promise<void> {
  const { time } = world;
  await time.run(Math.max(last, time.now));
  const deadline = time.now + HEALED_MS + boundMs;
  let rightSince = time.now;
  let writes = world.fencedWrites;
  while (violation() === null) {
    const differences = world.differences();
    if (differences.length > 0 || world.fencedWrites !== writes) rightSince = time.now;
    writes = world.fencedWrites;
    if (time.now - rightSince >= STAY_MS) return;
    if (time.now >= deadline) {
      const waited = `${(HEALED_MS + boundMs) / 1000} s after the last fault`;
      const wrong =
        differences.length > 0 ? differences.slice(0, 3).join("; ") : "tables are still written to";
      world.violations.push({ name: "convergence", at: time.now, what: `${waited}: ${wrong}` });
      return;
    }
    await time.run(time.now + LOOK_MS);
  }
}
