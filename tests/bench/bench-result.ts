import { mkdir, writeFile } from "node:fs/promises";
import { cpus, release } from "node:os";
import { join } from "node:path";

/** What every benchmark prints with --json. Figures are measured in that run; goals say what is asked of them. */
export interface BenchResult {
  readonly bench: string;
  readonly figures: Readonly<Record<string, number>>;
  readonly goals: Readonly<Record<string, number>>;
  readonly samples: number;
  /** File with the single measurements. */
  readonly raw: string;
  readonly machine: {
    readonly cpus: number;
    readonly model: string;
    readonly kernel: string;
    readonly node: string;
  };
}

export function thisMachine(): BenchResult["machine"] {
  const all = cpus();
  return {
    cpus: all.length,
    model: all[0]?.model ?? "unknown",
    kernel: release(),
    node: process.version,
  };
}

/** Writes single measurements to bench-results/ at the root. @returns the path, from the root */
export async function writeRaw(bench: string, samples: unknown): Promise<string> {
  const root = join(import.meta.dirname, "../..");
  const raw = join("bench-results", `${bench}-${new Date().toISOString().replaceAll(":", "-")}.json`);
  await mkdir(join(root, "bench-results"), { recursive: true });
  await writeFile(join(root, raw), `${JSON.stringify(samples, null, 1)}\n`);
  return raw;
}

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  const upper = sorted[middle] ?? Number.NaN;
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? upper) + upper) / 2;
}

/** @param share e.g. 0.99: the smallest value that so many of all are not above */
export function percentile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.ceil(share * sorted.length) - 1)] ?? Number.NaN;
}
