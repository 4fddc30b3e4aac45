import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { join } from "node:path";
import { test } from "node:test";

const main = join(import.meta.dirname, "main.ts");

interface Ran {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

function fuzz(...args: readonly string[]): Promise<Ran> {
  return new Promise((resolve) => {
    execFile(
      process.execPath,
      [main, ...args],
      { timeout: 240_000, maxBuffer: 1 << 27 },
      (error, stdout, stderr) => resolve({ code: error === null ? 0 : Number(error.code), stdout, stderr }),
    );
  });
}

test("objects of a fixed seed violate nothing", async () => {
  const { code, stdout, stderr } = await fuzz("--objects", "400", "--seed", "fixed");
  assert.equal(code, 0, stdout + stderr);
  assert.match(stdout, /^400 objects of seed fixed: 0 violations/m);
  // What reaches nothing finds nothing.
  const [, ...reached] =
    /^reached: (\d+) profiles, (\d+) rows of nginx, (\d+) of them Secrets$/m.exec(stdout) ?? [];
  for (const [i, least] of [50, 800, 10].entries()) assert.ok(Number(reached[i]) >= least, stdout);
});

test("objects of a fresh seed violate nothing", async (t) => {
  const { code, stdout, stderr } = await fuzz("--objects", "200");
  t.diagnostic(stdout.trimEnd());
  assert.equal(code, 0, stdout + stderr);
});

// Each rule is the only one of its layer: without it something gets through that its layer must keep out.
for (const [rule, found, seed = "plant"] of [
  ["quoting", /nginx\.conf:\d+: unexpected|nginx\.conf says something else/],
  ["bounds", /the agent refuses its profile/],
  ["path characters", /holds a control character/],
  // By an object that every run begins with.
  ["room", /is larger than a record/, "plant-31"],
] as const) {
  test(`without the rule of ${rule} an object is found that gets through, and shown`, async () => {
    const { code, stdout, stderr } = await fuzz("--objects", "5000", "--seed", seed, "--plant", rule);
    assert.equal(code, 1, stdout + stderr);
    assert.match(stdout, found);
    assert.match(
      stdout,
      /^violation of object plant-\d+: .*\n {2}\{.{1,600}(?:\}|… \(\d+ characters\))\n {2}again: npm run -s fuzz -- --seed plant-\d+$/m,
    );
  });
}

test("the seed of one object runs that object alone", async () => {
  const { code, stdout } = await fuzz("--seed", "fixed-7");
  assert.equal(code, 0, stdout);
  assert.match(stdout, /^1 objects of seed fixed-7: 0 violations/m);
});

test("an argument that is wrong is said, and exits with 64", async () => {
  for (const args of [["--objects", "0"], ["--plant", "nothing"], ["--seed", ""], ["--what"]]) {
    const { code, stderr } = await fuzz(...args);
    assert.equal(code, 64, stderr);
    assert.match(stderr, /^fuzz: /);
  }
});
