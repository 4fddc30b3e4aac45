import { mkdir, readFile, writeFile } from "node:fs/promises";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { Worker } from "node:worker_threads";
import { type Arguments, ScheduleError } from "./arguments.ts";
import { describe } from "./describe.ts";
import { generate, type Schedule } from "./generate.ts";
import type { Report } from "./report.ts";
import { CREW } from "./topology.ts";
import { takeGlobals } from "./virtual-globals.ts";
import type { Said, Share } from "./worker.ts";

/** Where schedules are kept that led to a violation. */
const FOLDER = ".sluice/simulation";
/** Most of what a schedule makes dies with it: a large nursery saves the collector most of its work. */
const NURSERY_MB = 64;
const PROGRESS_MS = 10_000;

/** @returns the exit code */
export async function simulate(args: Arguments, print: (line: string) => void): Promise<number> {
  const single = args.file !== null || /-\d+$/.test(args.seed);
  if (!single) return simulateMany(args, print);
  takeGlobals();
  const schedule = args.file === null ? generate(args.seed, { crew: CREW }) : await readSchedule(args.file);
  // What it runs takes a second to load: not for a wrong argument.
  const { runSchedule } = await import("./run-schedule.ts");
  const outcome = await runSchedule(schedule, { keepTrace: args.trace });
  for (const line of [...outcome.lines, ...describe(schedule, outcome)]) print(line);
  return outcome.violation === null ? 0 : 1;
}

async function simulateMany({ schedules, seed }: Arguments, print: (line: string) => void): Promise<number> {
  const began = performance.now();
  const reports: Report[] = [];
  let done = 0;
  const progress = setInterval(() => {
    process.stderr.write(`simulate: ${done} of ${schedules} schedules, ${reports.length} violations\n`);
  }, PROGRESS_MS);
  const every = Math.min(schedules, availableParallelism());
  const share = (first: number): Share => ({ seed, schedules, first, every });
  try {
    await Promise.all(
      Array.from({ length: every }, (_, i) =>
        runWorker(share(i + 1), async (said) => {
          done++;
          if (said.report === null) return;
          reports.push(said.report);
          await tell(said.report, print);
        }),
      ),
    );
  } finally {
    clearInterval(progress);
  }
  const seconds = (performance.now() - began) / 1000;
  print(`${done} schedules of seed ${seed}: ${reports.length} violations, ${seconds.toFixed(1)} s`);
  return reports.length === 0 ? 0 : 1;
}

function runWorker(share: Share, said: (said: Said) => Promise<void>): Promise<void> {
  const worker = new Worker(new URL("worker.ts", import.meta.url), {
    workerData: share,
    resourceLimits: { maxYoungGenerationSizeMb: NURSERY_MB },
  });
  const telling: Promise<void>[] = [];
  return new Promise((resolve, reject) => {
    worker.on("message", (message: Said) => telling.push(said(message)));
    worker.once("error", reject);
    worker.once("exit", (code) => {
      if (code !== 0) reject(new Error(`a worker ended with ${code}`));
      else Promise.all(telling).then(() => resolve(), reject);
    });
  });
}

async function tell(
  { schedule, outcome, steps, tries }: Report,
  print: (line: string) => void,
): Promise<void> {
  const file = join(FOLDER, `${schedule.seed}.json`);
  await mkdir(FOLDER, { recursive: true });
  await writeFile(file, `${JSON.stringify(schedule, null, 2)}\n`);
  for (const line of describe(schedule, outcome)) print(line);
  print(`  shrunk from ${steps} steps in ${tries} runs; again: npm run simulate -- --schedule ${file}`);
}

async function readSchedule(file: string): Promise<Schedule> {
  try {
    return JSON.parse(await readFile(file, "utf8")) as Schedule;
  } catch (error) {
    throw new ScheduleError(`${file}: ${(error as Error).message}`, { cause: error });
  }
}
