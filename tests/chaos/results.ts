import { appendFileSync, existsSync, readFileSync } from "node:fs";

/** One schedule's outcome: a line of the file that `--resume` names. */
export interface Result {
  readonly seed: number;
  readonly outcome: "ok" | "violation";
  /** From the last fault and the last change to all as it shall be; null: not within the limit. */
  readonly converged_ms: number | null;
  readonly requests: number;
  readonly failed: number;
  /** Requests that went to the other proxy because the test had ended the first one's nginx. */
  readonly moved: number;
  readonly longest_ms: number;
  /** Longest time for which the test's own process did not get to its work: how busy the machine was. */
  readonly lag_ms: number;
  /** Changes that were made in the members meanwhile. */
  readonly changes: number;
  readonly faults: readonly string[];
  readonly violations: readonly string[];
  /** ISO 8601. */
  readonly at: string;
  /** `single`, or `cluster` of three. */
  readonly bus: string;
}

export interface Totals {
  readonly schedules: number;
  readonly violations: number;
  readonly requests: number;
  readonly failed: number;
  readonly moved: number;
  readonly changes: number;
  readonly converged_ms_p50: number | null;
  readonly converged_ms_max: number | null;
}

/** Results by seed, the newest of each. @throws SyntaxError for a line that is no result */
export function readResults(file: string): Map<number, Result> {
  const text = existsSync(file) ? readFileSync(file, "utf8") : "";
  const lines = text.split("\n").filter((line) => line !== "");
  return new Map(
    lines.map((line, i) => {
      const result = JSON.parse(line) as Partial<Result>;
      if (typeof result.seed !== "number" || (result.outcome !== "ok" && result.outcome !== "violation")) {
        throw new SyntaxError(`${file}:${i + 1} is no result of a chaos schedule`);
      }
      return [result.seed, result as Result];
    }),
  );
}

export function appendResult(file: string, result: Result): void {
  appendFileSync(file, `${JSON.stringify(result)}\n`);
}

export function totalsOf(results: Iterable<Result>): Totals {
  const all = [...results];
  const sum = (of: (result: Result) => number) => all.reduce((total, result) => total + of(result), 0);
  const converged = all
    .map(({ converged_ms }) => converged_ms)
    .filter((ms) => ms !== null)
    .sort((a, b) => a - b);
  return {
    schedules: all.length,
    violations: all.filter(({ outcome }) => outcome === "violation").length,
    requests: sum(({ requests }) => requests),
    failed: sum(({ failed }) => failed),
    moved: sum(({ moved }) => moved),
    changes: sum(({ changes }) => changes),
    converged_ms_p50: converged[Math.floor((converged.length - 1) / 2)] ?? null,
    converged_ms_max: converged.at(-1) ?? null,
  };
}

export function totalsInWords(totals: Totals): string {
  const ms = (value: number | null) => (value === null ? "never" : `${Math.round(value)} ms`);
  return [
    `${totals.schedules} schedules, ${totals.violations} with violations`,
    `${totals.requests} requests, ${totals.failed} failed; ${totals.moved} asked the other proxy because the test had ended the first one's nginx`,
    `${totals.changes} changes in the members; converged after ${ms(totals.converged_ms_p50)} (p50), ${ms(totals.converged_ms_max)} (max)`,
  ].join("\n");
}
