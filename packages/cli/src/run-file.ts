import { readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";

/** `.sluice/run.json`: what runs and where it is reached; what `--json` prints when all is ready. */
export interface RunFile {
  readonly pid: number;
  readonly startedAt: string;
  readonly stateDir: string;
  /** Without `https`: TLS is not served. */
  readonly proxy: { readonly http: string; readonly https?: string };
  readonly gateway: string;
  readonly nats: string;
  /** Files by which a tool and the bus know each other: a seed that reaches every table, who signed the bus's certificate. */
  readonly natsFiles: { readonly nkey?: string; readonly ca?: string };
  readonly kubeconfigs: Readonly<Record<string, string>>;
  /** With `--processes` one a service; else services run in `pid`. nginx and nats-server always have their own. */
  readonly processes: readonly { readonly name: string; readonly pid: number | null }[];
  /** /livez, /readyz and /metrics of each service. */
  readonly probes: Readonly<Record<string, string>>;
}

const NAME = "run.json";

export function writeRunFile(run: RunFile): void {
  const file = join(run.stateDir, NAME);
  writeFileSync(`${file}.new`, `${JSON.stringify(run, null, 2)}\n`, { mode: 0o600 });
  renameSync(`${file}.new`, file);
}

export function removeRunFile(stateDir: string): void {
  rmSync(join(stateDir, NAME), { force: true });
}

export function readRunFile(stateDir: string): RunFile | null {
  try {
    return JSON.parse(readFileSync(join(stateDir, NAME), "utf8")) as RunFile;
  } catch {
    return null;
  }
}

/** The nearest `.sluice/run.json` from `from` upwards. */
export function findRunFile(from: string): RunFile | null {
  for (let folder = resolve(from); ; folder = dirname(folder)) {
    const run = readRunFile(join(folder, ".sluice"));
    if (run !== null) return run;
    if (folder === dirname(folder)) return null;
  }
}
