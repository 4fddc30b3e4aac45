import { SluiceError } from "@sluice/contracts";
import type { BenchResult } from "./bench-result.ts";

interface BenchArguments {
  readonly signal: AbortSignal;
  /** `SERVICE=DURATION`, as `sluice up --inject` takes it. */
  readonly inject: readonly string[];
  readonly log: (line: string) => void;
}

const benches: Readonly<Record<string, (args: BenchArguments) => Promise<BenchResult>>> = {
  latency: async (args) => (await import("./latency.ts")).latency(args),
  throughput: async (args) => (await import("./throughput.ts")).throughput(args),
  start: async (args) => (await import("./start.ts")).start(args),
};

const USAGE = `npm run -s bench -- ${Object.keys(benches).join("|")} [--json] [--inject SERVICE=DURATION]\n`;

function table(result: BenchResult): string {
  const width = Math.max(...Object.keys(result.figures).map((name) => name.length));
  const rows = Object.entries(result.figures).map(([name, value]) => {
    const goal = result.goals[name];
    const shown = Number.isInteger(value) ? String(value) : value.toPrecision(4);
    return `  ${name.padEnd(width)}  ${shown.padStart(10)}${goal === undefined ? "" : `   asked ${goal}`}`;
  });
  const { cpus, model, kernel, node } = result.machine;
  return [
    `${result.bench}, ${result.samples} samples`,
    ...rows,
    `  raw: ${result.raw}`,
    `  ${cpus} × ${model}, Linux ${kernel}, node ${node}`,
    "",
  ].join("\n");
}

async function main(argv: readonly string[]): Promise<number> {
  const [name, ...rest] = argv;
  if (argv.includes("--help") || argv.includes("-h")) {
    process.stdout.write(USAGE);
    return 0;
  }
  const bench = name === undefined ? undefined : benches[name];
  const inject: string[] = [];
  let json = false;
  for (let i = 0; i < rest.length; i++) {
    const next = rest[i + 1];
    if (rest[i] === "--json") json = true;
    else if (rest[i] === "--inject" && next !== undefined) inject.push(rest[++i] ?? "");
    else {
      process.stderr.write(`bench: ${rest[i]} is not known; write ${USAGE}`);
      return 64;
    }
  }
  if (bench === undefined) {
    process.stderr.write(`bench: ${name === undefined ? "name one" : `there is no ${name}`}; write ${USAGE}`);
    return 64;
  }
  const controller = new AbortController();
  for (const signal of ["SIGINT", "SIGTERM"]) process.once(signal, () => controller.abort(new Error(signal)));
  const log = (line: string) => void process.stderr.write(`${line}\n`);
  const result = await bench({ signal: controller.signal, inject, log });
  process.stdout.write(json ? `${JSON.stringify(result)}\n` : table(result));
  return 0;
}

try {
  process.exitCode = await main(process.argv.slice(2));
} catch (error) {
  const text =
    error instanceof SluiceError ? error.message : error instanceof Error ? error.stack : String(error);
  process.stderr.write(`bench: ${text}\n`);
  process.exitCode = error instanceof SluiceError ? error.exit : 1;
}
