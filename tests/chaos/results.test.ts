import assert from "node:assert/strict";
import { appendFileSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { appendResult, hasPassed, type Result, readResults, reportInWords, totalsOf } from "./results.ts";

const LIMIT_MS = 10_000;
const passed: Result = {
  seed: 1,
  outcome: "ok",
  converged_ms: 800,
  requests: 900,
  failed: 0,
  moved: 3,
  longest_ms: 40,
  lag_ms: 30,
  load_1m: 2.5,
  changes: 20,
  faults: ["at 0.1 s: aggregator-1 killed (-9), started again after 0.2 s"],
  violations: [],
  at: "2026-01-01T00:00:00.000Z",
  bus: "single",
  version: "abc1234",
};
const later = "2026-01-01T00:01:00.000Z";

function file(t: TestContext): string {
  const dir = mkdtempSync(join(tmpdir(), "chaos-results-"));
  t.after(() => rmSync(dir, { recursive: true }));
  return join(dir, "results.jsonl");
}

test("results of several runs add up, and the newest of a seed counts", (t) => {
  const path = file(t);
  assert.equal(readResults(path).newest.length, 0);
  appendResult(path, { ...passed, seed: 2, outcome: "violation", converged_ms: null, failed: 2 });
  appendResult(path, passed);
  const first = totalsOf(readResults(path).newest, LIMIT_MS);
  assert.equal(first.schedules, 2);
  assert.equal(first.violations, 1);
  assert.equal(first.failed, 2);
  appendResult(path, { ...passed, seed: 2, converged_ms: 1200, at: later, load_1m: 7, version: "def5678" });
  appendResult(path, { ...passed, seed: 3, converged_ms: 9000 });
  const results = readResults(path);
  assert.deepEqual(totalsOf(results.newest, LIMIT_MS), {
    schedules: 3,
    violations: 0,
    requests: 2700,
    failed: 0,
    moved: 9,
    changes: 60,
    converged_ms_p50: 1200,
    converged_ms_max: 9000,
    load_1m: [2.5, 7],
    versions: 2,
    unversioned: 0,
  });
  assert.equal(results.replaced.length, 1);
});

test("one seed on either bus is two schedules, in one file as in two", (t) => {
  const [one, two] = [file(t), file(t)];
  appendResult(one, passed);
  appendResult(one, { ...passed, bus: "cluster" });
  appendResult(two, { ...passed, at: later, requests: 1 });
  const { newest } = readResults(one, two);
  assert.deepEqual(
    newest.map(({ bus, requests }) => [bus, requests]),
    [
      ["single", 1],
      ["cluster", 900],
    ],
  );
});

test("the newest of a seed counts whichever file it lies in", (t) => {
  const [one, two] = [file(t), file(t)];
  appendResult(one, { ...passed, at: later, requests: 1 });
  appendResult(two, passed);
  assert.deepEqual(readResults(one, two).newest, readResults(two, one).newest);
  assert.equal(readResults(one, two).newest[0]?.requests, 1);
});

test("what did not converge in time has not passed, whatever its line says of itself", () => {
  assert.ok(hasPassed(passed, LIMIT_MS));
  assert.ok(!hasPassed({ ...passed, converged_ms: null }, LIMIT_MS));
  assert.ok(!hasPassed({ ...passed, converged_ms: 10_001 }, LIMIT_MS));
  assert.ok(!hasPassed({ ...passed, failed: 1 }, LIMIT_MS));
  assert.ok(!hasPassed({ ...passed, outcome: "violation" }, LIMIT_MS));
});

test("a file that holds something else is refused with its line", (t) => {
  const path = file(t);
  appendResult(path, passed);
  appendFileSync(path, '{"shop":1}\n');
  assert.throws(() => readResults(path), /results\.jsonl:2 is no result/);
});

test("a report tells each bus, names what has not passed, and counts what was run again", (t) => {
  const path = file(t);
  const violated = { outcome: "violation", violations: ["GET cart failed"] } as const;
  appendResult(path, { ...passed, ...violated });
  appendResult(path, { ...passed, at: later });
  appendResult(path, { ...passed, seed: 9, bus: "cluster", converged_ms: null, load_1m: 12 });
  const report = reportInWords(readResults(path), LIMIT_MS);
  assert.match(report, /^2 schedules, 1 with violations\n.*load average 2\.5 to 12\.0; 1 versions\n/s);
  assert.doesNotMatch(report, /unknown/);
  assert.match(report, /\nbus cluster: 1 schedules, 1 with violations; .*converged after never/);
  assert.match(report, /\nbus single: 1 schedules, 0 with violations; /);
  assert.match(report, /\n1 older results of the same schedules do not count, 1 of them with violations\n/);
  assert.match(report, /\n! --seed 9 --bus cluster, .*, abc1234, not converged: nothing else said$/);
});

test("a report of one bus tells its totals once", (t) => {
  const path = file(t);
  appendResult(path, passed);
  assert.doesNotMatch(reportInWords(readResults(path), LIMIT_MS), /bus single/);
});
