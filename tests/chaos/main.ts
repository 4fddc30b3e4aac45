import { randomInt } from "node:crypto";
import { existsSync } from "node:fs";
import { parseArgs } from "node:util";
import { SluiceError } from "@sluice/contracts";
import { type Plant, plants } from "./plants.ts";
import { appendResult, hasPassed, Results, readResults, reportInWords } from "./results.ts";

const USAGE = `npm run chaos -- [--schedules N] [--seed S] [--resume FILE] [--bus single|cluster] [--converge-ms N] [--plant ${plants.join("|")}], or --totals FILE ... [--converge-ms N]\n`;
const MOST_SEEDS = 0xffff_ffff;

interface Arguments {
  readonly schedules: number;
  readonly seed: number;
  readonly resume: string | null;
  readonly bus: "single" | "cluster";
  readonly plants: readonly Plant[];
  readonly convergeMs: number;
  /** Files to tell the totals of, instead of running anything. */
  readonly totals: readonly string[];
}

function whole(name: string, text: string, low: number, high: number): number {
  const value = Number(text);
  if (!/^[0-9]+$/.test(text) || value < low || value > high) {
    throw new RangeError(`--${name} takes a whole number from ${low} to ${high}, not ${text}`);
  }
  return value;
}

/** @throws RangeError or TypeError for what is no usage of it */
function readArguments(argv: readonly string[]): Arguments | null {
  const { values } = parseArgs({
    args: [...argv],
    options: {
      schedules: { type: "string", default: "5" },
      seed: { type: "string", default: String(randomInt(1, 1_000_000)) },
      resume: { type: "string" },
      bus: { type: "string", default: "single" },
      "converge-ms": { type: "string", default: "10000" },
      plant: { type: "string", multiple: true, default: [] },
      totals: { type: "string", multiple: true, default: [] },
      help: { type: "boolean", short: "h", default: false },
    },
  });
  if (values.help) return null;
  const unknown = values.plant.find((name) => !(plants as readonly string[]).includes(name));
  if (unknown !== undefined) throw new RangeError(`--plant takes ${plants.join(", ")}, not ${unknown}`);
  if (values.plant.length > 0 && values.resume !== undefined) {
    throw new RangeError("--plant and --resume do not go together: a planted fault is no result");
  }
  const missing = values.totals.find((file) => !existsSync(file));
  if (missing !== undefined)
    throw new RangeError(`--totals takes files with results; there is no ${missing}`);
  const { bus } = values;
  if (bus !== "single" && bus !== "cluster")
    throw new RangeError(`--bus takes single or cluster, not ${bus}`);
  const schedules = whole("schedules", values.schedules, 1, 1_000_000);
  return {
    schedules,
    seed: whole("seed", values.seed, 0, MOST_SEEDS - schedules),
    resume: values.resume ?? null,
    bus,
    plants: plants.filter((name) => values.plant.includes(name)),
    convergeMs: whole("converge-ms", values["converge-ms"], 1, 3_600_000),
    totals: values.totals,
  };
}

async function main(argv: readonly string[]): Promise<number> {
  let args: Arguments | null;
  try {
    args = readArguments(argv);
  } catch (error) {
    process.stderr.write(`chaos: ${(error as Error).message}; write ${USAGE}`);
    return 64;
  }
  if (args === null) {
    process.stdout.write(USAGE);
    return 0;
  }
  const { schedules, seed, resume, bus, convergeMs } = args;
  if (args.totals.length > 0) return told(readResults(...args.totals), convergeMs);
  const controller = new AbortController();
  const { signal } = controller;
  for (const name of ["SIGINT", "SIGTERM", "SIGHUP"]) {
    process.on(name, () => controller.abort(new Error(name)));
  }
  const log = (line: string) => void process.stderr.write(`${line}\n`);
  const results = resume === null ? new Results() : readResults(resume);
  const wanted = Array.from({ length: schedules }, (_, i) => seed + i);
  // What has passed is not done again; what has failed is, and its new result counts.
  const seeds = wanted.filter((each) => {
    const newest = results.newestOf({ bus, seed: each });
    return newest === undefined || !hasPassed(newest, convergeMs);
  });
  log(`chaos: seeds ${seed} to ${seed + schedules - 1}, ${seeds.length} of them to do`);
  // Late: all that a world needs takes most of a second to load.
  const { chaos } = await import("./chaos.ts");
  await chaos({
    seeds,
    signal,
    bus,
    plants: args.plants,
    convergeMs,
    log,
    onResult: (result) => {
      results.add(result);
      if (resume !== null) appendResult(resume, result);
    },
  });
  if (signal.aborted) log(`chaos: ended early (${(signal.reason as Error).message})`);
  return told(results, convergeMs);
}

/** Prints what the results say. @returns the exit code */
function told(results: Results, convergeMs: number): number {
  process.stdout.write(`${reportInWords(results, convergeMs)}\n`);
  const { newest } = results;
  return newest.length > 0 && newest.every((result) => hasPassed(result, convergeMs)) ? 0 : 1;
}

try {
  process.exitCode = await main(process.argv.slice(2));
} catch (error) {
  const text =
    error instanceof SluiceError ? error.message : error instanceof Error ? error.stack : String(error);
  process.stderr.write(`chaos: ${text}\n`);
  process.exitCode = error instanceof SluiceError ? error.exit : 1;
}
