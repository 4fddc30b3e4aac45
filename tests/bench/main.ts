import { SluiceError } from "@sluice/contracts";
import type { BenchResult } from "./bench-result.ts";

interface BenchArguments {
  readonly signal: AbortSignal;
  /** `SERVICE=DURATION`, as `sluice up --inject` takes it. */
  readonly inject: readonly string[];
  /** What `Bench.numbers` names, as given or as by default. */
  readonly number: (name: string) => number;
  /** Arguments of Node for the services' processes, e.g. `--cpu-prof`. */
  readonly nodeArgs: readonly string[];
  readonly log: (line: string) => void;
}

interface Bench {
  /** Options with a whole number, and what they are when nothing is said. */
  readonly numbers?: Readonly<Record<string, number>>;
  run(args: BenchArguments): Promise<BenchResult>;
}

const benches: Readonly<Record<string, Bench>> = {
  latency: { run: async (args) => (await import("./latency.ts")).latency(args) },
  throughput: {
    numbers: { profiles: 0, alternations: 9, seconds: 5 },
    run: async ({ number, ...args }) => {
      const load = { alternations: number("alternations"), seconds: number("seconds") };
      return (await import("./throughput.ts")).throughput({ ...args, ...load, profiles: number("profiles") });
    },
  },
  churn: {
    numbers: { changes: 1000, load: 500 },
    run: async ({ number, signal, log }) => {
      const load = { changes: number("changes"), load: number("load") };
      return (await import("./churn.ts")).churn({ signal, log, ...load });
    },
  },
  table: {
    numbers: { hosts: 1000, upstreams: 5000, peers: 50_000, rounds: 5, certificates: 10_000 },
    run: async ({ number, signal, log }) => {
      const size = { hosts: number("hosts"), upstreams: number("upstreams"), peers: number("peers") };
      const more = { rounds: number("rounds"), certificates: number("certificates") };
      return (await import("./table.ts")).table({ signal, log, ...size, ...more });
    },
  },
  start: { run: async (args) => (await import("./start.ts")).start(args) },
  changes: {
    numbers: { rate: 500, clusters: 10, seconds: 20 },
    run: async ({ number, ...args }) => {
      const load = { rate: number("rate"), clusters: number("clusters"), seconds: number("seconds") };
      return (await import("./changes.ts")).changes({ ...args, ...load });
    },
  },
  blackhole: {
    numbers: { rounds: 3 },
    run: async ({ number, signal, log }) =>
      (await import("./blackhole.ts")).blackhole({ signal, log, rounds: number("rounds") }),
  },
  drain: {
    numbers: { rolls: 10, load: 200 },
    run: async ({ number, signal, log }) =>
      (await import("./drain.ts")).drain({ signal, log, rolls: number("rolls"), load: number("load") }),
  },
  relist: {
    numbers: { slices: 10_000, relists: 5 },
    run: async ({ number, ...args }) => {
      const crowd = { slices: number("slices"), relists: number("relists") };
      return (await import("./relist.ts")).relist({ ...args, ...crowd });
    },
  },
  scale: {
    numbers: { clusters: 250, services: 10_000, endpoints: 1_000_000, rate: 1000, seconds: 20 },
    run: async ({ number, ...args }) => {
      const size = {
        clusters: number("clusters"),
        services: number("services"),
        endpoints: number("endpoints"),
      };
      const load = { rate: number("rate"), seconds: number("seconds") };
      return (await import("./scale.ts")).scale({ ...args, ...size, ...load });
    },
  },
};

const USAGE = Object.entries(benches)
  .map(([name, { numbers = {} }]) => {
    const own = Object.entries(numbers).map(([option, value]) => ` [--${option} ${value}]`);
    return `npm run -s bench -- ${name}${own.join("")} [--json] [--inject SERVICE=DURATION] [--node-arg ARG]\n`;
  })
  .join("");

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
  const numbers = new Map(Object.entries(bench?.numbers ?? {}));
  const nodeArgs: string[] = [];
  let json = false;
  for (let i = 0; i < rest.length; i++) {
    const next = rest[i + 1];
    const option = rest[i]?.replace(/^--/, "") ?? "";
    if (rest[i] === "--json") json = true;
    else if (rest[i] === "--inject" && next !== undefined) inject.push(rest[++i] ?? "");
    else if (rest[i] === "--node-arg" && next !== undefined) nodeArgs.push(rest[++i] ?? "");
    else if (rest[i]?.startsWith("--") && numbers.has(option) && /^[1-9][0-9]{0,9}$/.test(next ?? ""))
      numbers.set(option, Number(rest[++i]));
    else if (bench !== undefined) {
      process.stderr.write(`bench: ${rest[i]} ${next ?? ""} is not known; write ${USAGE}`);
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
  const number = (option: string) => numbers.get(option) ?? Number.NaN;
  const result = await bench.run({ signal: controller.signal, inject, number, nodeArgs, log });
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
