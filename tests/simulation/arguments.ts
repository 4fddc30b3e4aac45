import { parseArgs } from "node:util";
import { ConfigError } from "@sluice/contracts";

export interface Arguments {
  readonly schedules: number;
  readonly seed: string;
  /** A schedule to run instead of seeded ones. */
  readonly file: string | null;
  /** Print everything that happened. */
  readonly trace: boolean;
  readonly help: boolean;
}

/** What was given as a schedule is none. */
export class ScheduleError extends Error {}

export const USAGE = `npm run -s simulate -- [--schedules N] [--seed S] [--trace]
npm run -s simulate -- --schedule FILE [--trace]

Runs random schedules of faults against the real watchers, aggregators, renderers and agents under virtual time.
  --schedules N    how many; default 1,000. Schedule i of seed S is the schedule of seed S-i.
  --seed S         any text; default: a fresh one, which is printed. The seed of one schedule, as a violation
                   names it (S-i), runs that one alone.
  --schedule FILE  a schedule that a violation left behind
  --trace          everything that happened, with its virtual time
Exits with 0: nothing was violated, 1: something was, 64: an argument is wrong, 65: FILE is no schedule.
`;

/** @throws ConfigError */
export function readArguments(argv: readonly string[]): Arguments {
  let values: ReturnType<typeof parse>;
  try {
    values = parse(argv);
  } catch (error) {
    throw new ConfigError((error as Error).message, { cause: error });
  }
  const { seed, schedule, schedules, trace = false, help = false } = values;
  const count = Number(schedules ?? "1000");
  if (!Number.isSafeInteger(count) || count < 1) {
    throw new ConfigError(`--schedules ${schedules}: it must be a whole number from 1`);
  }
  if (seed === "") throw new ConfigError("--seed: it must not be empty");
  if (schedule !== undefined && (seed !== undefined || schedules !== undefined)) {
    throw new ConfigError("--schedule runs one schedule: --seed and --schedules do not go with it");
  }
  const fresh = () => Math.floor(Math.random() * 1e9).toString(36);
  return { schedules: count, seed: seed ?? fresh(), file: schedule ?? null, trace, help };
}

function parse(argv: readonly string[]) {
  return parseArgs({
    args: [...argv],
    options: {
      schedules: { type: "string" },
      seed: { type: "string" },
      schedule: { type: "string" },
      trace: { type: "boolean" },
      help: { type: "boolean", short: "h" },
    },
  }).values;
}
