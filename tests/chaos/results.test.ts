import assert from "node:assert/strict";
import { appendFileSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { appendResult, type Result, readResults, totalsInWords, totalsOf } from "./results.ts";

const passed: Result = {
  seed: 1,
  outcome: "ok",
  converged_ms: 800,
  requests: 900,
  failed: 0,
  moved: 3,
  longest_ms: 40,
  lag_ms: 30,
  changes: 20,
  faults: ["at 0.1 s: aggregator-1 killed (-9), started again after 0.2 s"],
  violations: [],
  at: "2026-01-01T00:00:00.000Z",
  bus: "single",
};

function file(t: TestContext): string {
  const dir = mkdtempSync(join(tmpdir(), "chaos-results-"));
  t.after(() => rmSync(dir, { recursive: true }));
  return join(dir, "results.jsonl");
}

test("results of several runs add up, and the newest of a seed counts", (t) => {
  const path = file(t);
  assert.equal(readResults(path).size, 0);
  appendResult(path, { ...passed, seed: 2, outcome: "violation", converged_ms: null, failed: 2 });
  appendResult(path, passed);
  const first = totalsOf(readResults(path).values());
  assert.equal(first.schedules, 2);
  assert.equal(first.violations, 1);
  assert.equal(first.failed, 2);
  appendResult(path, { ...passed, seed: 2, converged_ms: 1200 });
  appendResult(path, { ...passed, seed: 3, converged_ms: 9000 });
  assert.deepEqual(totalsOf(readResults(path).values()), {
    schedules: 3,
    violations: 0,
    requests: 2700,
    failed: 0,
    moved: 9,
    changes: 60,
    converged_ms_p50: 1200,
    converged_ms_max: 9000,
  });
});

test("a file that holds something else is refused with its line", (t) => {
  const path = file(t);
  appendResult(path, passed);
  appendFileSync(path, '{"shop":1}\n');
  assert.throws(() => readResults(path), /results\.jsonl:2 is no result/);
});

test("totals say that nothing converged where nothing did", () => {
  const totals = totalsOf([{ ...passed, outcome: "violation", converged_ms: null }]);
  assert.match(totalsInWords(totals), /1 schedules, 1 with violations.*converged after never/s);
});
