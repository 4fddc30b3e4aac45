import assert from "node:assert/strict";
import { test } from "node:test";
import { type PackageReport, summarizeTests } from "./test-summary.ts";

const report = (part: Partial<PackageReport>): PackageReport => ({
  tests: 3,
  passed: 3,
  failed: 0,
  skipped: 0,
  ms: 1234,
  failures: [],
  ...part,
});
const lastLine = (text: string) => text.trimEnd().split("\n").at(-1);

test("the closing line adds up all packages, and the table has a line for each", () => {
  const reports = new Map([
    ["@sluice/bus", report({})],
    ["@sluice/cli", report({ tests: 4, passed: 4, ms: 60_000 })],
  ]);
  const { text, ok } = summarizeTests(reports, 0);
  assert.equal(ok, true);
  assert.equal(lastLine(text), "7 passed, 0 failed");
  assert.match(text, /^@sluice\/bus +3 +0 +0 +1\.2$/m);
  assert.match(text, /^@sluice\/cli +4 +0 +0 +60\.0$/m);
});

test("one failed test fails the whole", () => {
  const { text, ok } = summarizeTests(new Map([["@sluice/bus", report({ passed: 2, failed: 1 })]]), 1);
  assert.equal(ok, false);
  assert.equal(lastLine(text), "2 passed, 1 failed");
});

test("what failed is told below the table, where the end of a long log shows it", () => {
  const failed = report({ passed: 2, failed: 1, failures: ["bus.test.ts:7 claims are kept\nError: lost"] });
  const { text } = summarizeTests(new Map([["@sluice/bus", failed]]), 1);
  assert.match(text, /\n@sluice\/bus: bus\.test\.ts:7 claims are kept\nError: lost\n\n2 passed, 1 failed\n$/);
});

test("a package whose runner ended without a report has failed", () => {
  const reports = new Map([
    ["@sluice/bus", null],
    ["@sluice/cli", report({})],
  ]);
  const { text, ok } = summarizeTests(reports, 1);
  assert.equal(ok, false);
  assert.match(text, /@sluice\/bus: its test runner ended without a report/);
  assert.equal(lastLine(text), "3 passed, 1 failed");
});

test("no test at all is a failure", () => {
  for (const reports of [new Map(), new Map([["@sluice/bus", report({ tests: 0, passed: 0 })]])]) {
    const { text, ok } = summarizeTests(reports, 0);
    assert.equal(ok, false);
    assert.match(text, /No test ran/);
    assert.equal(lastLine(text), "0 passed, 0 failed");
  }
});

test("when turbo failed although no test did, that counts as one failure", () => {
  const { text, ok } = summarizeTests(new Map([["@sluice/bus", report({})]]), 130);
  assert.equal(ok, false);
  assert.match(text, /turbo ended with code 130/);
  assert.equal(lastLine(text), "3 passed, 1 failed");
});
