import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, test } from "node:test";
import { fileURLToPath } from "node:url";

const script = fileURLToPath(new URL("./test-package.mjs", import.meta.url));
let folder = "";
let fileMs = 600_000;

beforeEach(() => {
  fileMs = 600_000;
  folder = mkdtempSync(join(tmpdir(), "sluice-test-package-"));
  mkdirSync(join(folder, "reports"));
  mkdirSync(join(folder, "src", "node_modules"), { recursive: true });
  writeFileSync(join(folder, "package.json"), '{"name":"@sluice/trial","type":"module"}');
  // A test of somebody else's package is not ours to run.
  writeFileSync(join(folder, "src/node_modules/other.test.ts"), "process.exit(1);");
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

function runPackage(files: Readonly<Record<string, string>>, ...args: string[]) {
  for (const [name, body] of Object.entries(files)) {
    writeFileSync(
      join(folder, "src", name),
      `import { test } from "node:test";\nconst n: number = 1;\n${body}\n`,
    );
  }
  // NODE_TEST_CONTEXT tells a runner that it runs inside another one.
  const { NODE_TEST_CONTEXT: _, ...inherited } = process.env;
  const env = { ...inherited, SLUICE_TEST_FILE_MS: String(fileMs) };
  const { status, stdout } = spawnSync(process.execPath, [script, ...args], {
    cwd: folder,
    env: { ...env, SLUICE_TEST_REPORTS: join(folder, "reports") },
    encoding: "utf8",
  });
  const report = readFileSync(join(folder, "reports", "@sluice+trial.json"), "utf8");
  return { status, stdout, report: report === "" ? null : JSON.parse(report) };
}

const passes = 'test("holds", () => {});';
const fails = 'test("does not hold", () => { throw new Error(String(n)); });';

describe("the tests of one package", () => {
  test("are run and reported, and a failure is its exit code", () => {
    const { status, stdout, report } = runPackage({ "a.test.ts": passes, "b.test.ts": fails });
    assert.equal(status, 1);
    assert.match(stdout, /does not hold/);
    const { failures, ...sums } = report;
    assert.deepEqual({ ...sums, ms: 0 }, { tests: 2, passed: 1, failed: 1, skipped: 0, ms: 0 });
    assert.equal(failures.length, 1);
    assert.match(failures[0], /src\/b\.test\.ts:3 does not hold\nError: 1\n/);
  });

  test("can be one file of them, or those of a name", () => {
    const files = { "a.test.ts": passes, "b.test.ts": fails };
    assert.equal(runPackage(files, "src/a.test.ts").report.tests, 1);
    assert.equal(runPackage(files, "--test-name-pattern=^holds").status, 0);
  });

  test("are none where there is no test file", () => {
    const { status, report } = runPackage({});
    assert.equal(status, 0);
    assert.equal(report.tests, 0);
  });

  test("a file that crashes, and one that cannot be read as code, have failed", () => {
    const { status, report } = runPackage({
      "a.test.ts": `${passes}\nprocess.exit(3);`,
      "b.test.ts": "this is no code",
    });
    assert.equal(status, 1);
    assert.equal(report.failed, 2);
  });

  test("a file that would never end is ended, has failed and is named with what keeps it", () => {
    fileMs = 1_500;
    const { status, stdout, report } = runPackage({
      "a.test.ts": passes,
      "b.test.ts": `${passes}\nsetInterval(() => {}, 10);`,
    });
    assert.equal(status, 1);
    assert.match(stdout, /src\/b\.test\.ts has not ended after 1500 ms; what keeps it: .*Timeout/);
    assert.equal(report.failed, 1);
    assert.match(report.failures[0], /b\.test\.ts/);
  });

  test("do not leave before what they left open has ended", () => {
    const body = `${passes}
import { writeFileSync } from "node:fs";
setTimeout(() => writeFileSync(new URL("./late", import.meta.url), "kept alive"), 100);`;
    const { status, report } = runPackage({ "a.test.ts": body });
    assert.deepEqual([status, report.passed, report.failed], [0, 1, 0]);
    assert.equal(readFileSync(join(folder, "src/late"), "utf8"), "kept alive");
  });
});
