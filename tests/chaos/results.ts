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
  /** The machine's load average over a minute, at the end; results of before it was written down have none. */
  readonly load_1m?: number;
  /** Changes that were made in the members meanwhile. */
  readonly changes: number;
  readonly faults: readonly string[];
  readonly violations: readonly string[];
  /** ISO 8601. */
  readonly at: string;
  /** `single`, or `cluster` of three. */
  readonly bus: string;
  /** What was run, as `checkedOut` says it; results of before it was written down have none. */
  readonly version?: string;
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
  /** Least and greatest; null: none says it. */
  readonly load_1m: readonly [number, number] | null;
  /** Different ones; results that say none are not counted. */
  readonly versions: number;
  readonly unversioned: number;
}

/** The faults of a seed depend on the bus, so that one seed on either is two schedules. */
const scheduleOf = ({ bus, seed }: Pick<Result, "bus" | "seed">): string => `${bus} ${seed}`;

/** All that was run, by schedule. */
export class Results {
  readonly #runs = new Map<string, Result[]>();

  add(result: Result): void {
    const runs = this.#runs.get(scheduleOf(result));
    if (runs === undefined) this.#runs.set(scheduleOf(result), [result]);
    else runs.push(result);
  }

  /** The newest of each schedule: that one counts. */
  get newest(): Result[] {
    return [...this.#runs.values()].flatMap((runs) => runs.at(-1) ?? []);
  }

  newestOf(schedule: Pick<Result, "bus" | "seed">): Result | undefined {
    return this.#runs.get(scheduleOf(schedule))?.at(-1);
  }

  /** Those in the place of which a newer one of the same schedule counts. */
  get replaced(): Result[] {
    return [...this.#runs.values()].flatMap((runs) => runs.slice(0, -1));
  }
}

/**
 * Nothing violated, no request failed, and converged in time. The line's own `outcome` is not all: whoever wrote it may have
 * granted more time, and an older harness called ok what it had not seen converge.
 *
 * @param limitMs for converging
 */
export function hasPassed(result: Result, limitMs: number): boolean {
  const { outcome, failed, converged_ms } = result;
  return outcome === "ok" && failed === 0 && converged_ms !== null && converged_ms <= limitMs;
}

/** Results of files, in the order of time. @throws SyntaxError for a line that is no result */
export function readResults(...files: readonly string[]): Results {
  const results = new Results();
  const all = files.flatMap(readFile);
  for (const result of all.sort((a, b) => Date.parse(a.at) - Date.parse(b.at))) results.add(result);
  return results;
}

function readFile(file: string): Result[] {
  const text = existsSync(file) ? readFileSync(file, "utf8") : "";
  const lines = text.split("\n").filter((line) => line !== "");
  return lines.map((line, i) => {
    const result = JSON.parse(line) as Partial<Result>;
    const { seed, outcome, at } = result;
    if (typeof seed !== "number" || (outcome !== "ok" && outcome !== "violation") || at === undefined) {
      throw new SyntaxError(`${file}:${i + 1} is no result of a chaos schedule`);
    }
    return result as Result;
  });
}

export function appendResult(file: string, result: Result): void {
  appendFileSync(file, `${JSON.stringify(result)}\n`);
}

/** @param limitMs for converging */
export function totalsOf(results: readonly Result[], limitMs: number): Totals {
  const sum = (of: (result: Result) => number) => results.reduce((total, result) => total + of(result), 0);
  const converged = results.flatMap(({ converged_ms }) => converged_ms ?? []).sort((a, b) => a - b);
  const loads = results.flatMap(({ load_1m }) => load_1m ?? []);
  return {
    schedules: results.length,
    violations: results.filter((result) => !hasPassed(result, limitMs)).length,
    requests: sum(({ requests }) => requests),
    failed: sum(({ failed }) => failed),
    moved: sum(({ moved }) => moved),
    changes: sum(({ changes }) => changes),
    converged_ms_p50: converged[Math.floor((converged.length - 1) / 2)] ?? null,
    converged_ms_max: converged.at(-1) ?? null,
    load_1m: loads.length === 0 ? null : [Math.min(...loads), Math.max(...loads)],
    versions: new Set(results.flatMap(({ version }) => version ?? [])).size,
    unversioned: results.filter(({ version }) => version === undefined).length,
  };
}

function totalsInWords(totals: Totals): string {
  const ms = (value: number | null) => (value === null ? "never" : `${Math.round(value)} ms`);
  const load =
    totals.load_1m === null
      ? "load average not written down"
      : `load average ${totals.load_1m.map((each) => each.toFixed(1)).join(" to ")}`;
  return [
    `${totals.schedules} schedules, ${totals.violations} with violations`,
    `${totals.requests} requests, ${totals.failed} failed; ${totals.moved} asked the other proxy because the test had ended the first one's nginx`,
    `${totals.changes} changes in the members; converged after ${ms(totals.converged_ms_p50)} (p50), ${ms(totals.converged_ms_max)} (max)`,
    `${load}; ${totals.versions} versions${totals.unversioned === 0 ? "" : `, and ${totals.unversioned} schedules of an unknown one`}`,
  ].join("\n");
}

/**
 * All that files hold: totals over everything and for each bus, what counts and has not passed, and what no longer counts
 * because it was run again.
 *
 * @param limitMs for converging
 */
export function reportInWords(results: Results, limitMs: number): string {
  const { newest, replaced } = results;
  const failing = newest.filter((result) => !hasPassed(result, limitMs));
  const before = replaced.filter((result) => !hasPassed(result, limitMs)).length;
  const kinds = [...new Set(newest.map(({ bus }) => bus))].sort();
  return [
    totalsInWords(totalsOf(newest, limitMs)),
    ...(kinds.length < 2 ? [] : kinds).map((kind) => {
      const of = totalsInWords(
        totalsOf(
          newest.filter(({ bus }) => bus === kind),
          limitMs,
        ),
      );
      return `bus ${kind}: ${of.replaceAll("\n", "; ")}`;
    }),
    `${replaced.length} older results of the same schedules do not count, ${before} of them with violations`,
    ...failing.map((result) => {
      const { seed, bus, at, version = "of an unknown version", violations, converged_ms } = result;
      const late = converged_ms === null ? "not converged" : `converged after ${converged_ms} ms`;
      return `! --seed ${seed} --bus ${bus}, ${at}, ${version}, ${late}: ${violations[0] ?? "nothing else said"}`;
    }),
  ].join("\n");
}
