import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { ConfigError } from "@sluice/contracts";
import type { Arguments } from "./arguments.ts";
import { generate, type Schedule } from "./generate.ts";
import { type Outcome, runSchedule } from "./run-schedule.ts";
import { shrink } from "./shrink.ts";
import { inWords } from "./steps.ts";
import type { Crew } from "./topology.ts";
import { takeGlobals } from "./virtual-globals.ts";

const CREW: Crew = { watcher: 1, aggregator: 1, renderer: 1, agent: 1 };
/** Where schedules are kept that led to a violation. */
const FOLDER = ".sluice/simulation";

/** @returns the exit code */
export async function simulate(args: Arguments, print: (line: string) => void): Promise<number> {
  takeGlobals();
  const began = performance.now();
  if (args.file !== null) {
    const schedule = await readSchedule(args.file);
    const outcome = await runSchedule(schedule, { keepTrace: args.trace });
    for (const line of [...outcome.lines, ...describe(schedule, outcome)]) print(line);
    return outcome.violation === null ? 0 : 1;
  }
  let violations = 0;
  for (const seed of seedsOf(args)) {
    const schedule = generate(seed, { crew: CREW });
    const outcome = await runSchedule(schedule, { keepTrace: args.trace });
    for (const line of outcome.lines) print(line);
    if (outcome.violation === null) continue;
    violations++;
    const { schedule: small, outcome: same, tries } = await shrink(schedule, outcome.violation.name, outcome);
    for (const line of describe(small, same)) print(line);
    const file = join(FOLDER, `${seed}.json`);
    await mkdir(FOLDER, { recursive: true });
    await writeFile(file, `${JSON.stringify(small, null, 2)}\n`);
    print(
      `  shrunk from ${schedule.steps.length} steps in ${tries} runs; again: npm run simulate -- --schedule ${file}`,
    );
  }
  const seconds = (performance.now() - began) / 1000;
  print(
    `${args.schedules} schedules of seed ${args.seed}: ${violations} violations, ${seconds.toFixed(1)} s`,
  );
  return violations === 0 ? 0 : 1;
}

function* seedsOf({ schedules, seed }: Arguments): Generator<string> {
  if (/-\d+$/.test(seed)) yield seed;
  else for (let i = 1; i <= schedules; i++) yield `${seed}-${i}`;
}

async function readSchedule(file: string): Promise<Schedule> {
  try {
    return JSON.parse(await readFile(file, "utf8")) as Schedule;
  } catch (error) {
    throw new ConfigError(`${file}: ${(error as Error).message}`, { cause: error });
  }
}

function describe({ seed, steps }: Schedule, { violation, hash, tookMs }: Outcome): string[] {
  const time = (ms: number) => `${(ms / 1000).toFixed(3)} s`.padStart(12);
  return [
    violation === null ? `seed ${seed}: nothing was violated` : `seed ${seed}: VIOLATION ${violation.name}`,
    ...steps.map((step) => `${time(step.at)}  ${inWords(step)}`),
    ...(violation === null ? [] : [`${time(violation.at)}  ${violation.what}`]),
    `  ${(tookMs / 1000).toFixed(1)} s of virtual time, hash of all events ${hash}`,
  ];
}
