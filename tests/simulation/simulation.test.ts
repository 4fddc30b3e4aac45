import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";

const main = join(import.meta.dirname, "main.ts");

interface Ran {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs the command in a folder of its own. */
async function simulate(
  t: TestContext,
  options: readonly string[],
  ...args: readonly string[]
): Promise<Ran> {
  const cwd = await mkdtemp(join(tmpdir(), "sluice-simulation-"));
  t.after(() => rm(cwd, { recursive: true }));
  return run(cwd, options, ...args);
}

function run(cwd: string, options: readonly string[], ...args: readonly string[]): Promise<Ran> {
  const argv = [...options, main, ...args];
  return new Promise((resolve) => {
    execFile(
      process.execPath,
      argv,
      { cwd, timeout: 240_000, maxBuffer: 1 << 27 },
      (error, stdout, stderr) => {
        resolve({ code: error === null ? 0 : Number(error.code), stdout, stderr });
      },
    );
  });
}

const hashOf = ({ stdout }: Ran) => /hash of all events ([0-9a-f]{16})/.exec(stdout)?.[1];

test("schedules of a fixed seed violate nothing", async (t) => {
  const { code, stdout } = await simulate(t, [], "--schedules", "60", "--seed", "fixed");
  assert.equal(code, 0, stdout);
  assert.match(stdout, /^60 schedules of seed fixed: 0 violations/m);
});

test("schedules of a fresh seed violate nothing", async (t) => {
  const { code, stdout } = await simulate(t, [], "--schedules", "8");
  t.diagnostic(stdout.trimEnd());
  assert.equal(code, 0, stdout);
});

test("one seed is one course of events, to the letter; another is another", async (t) => {
  const [first, second, other] = await Promise.all([
    simulate(t, [], "--seed", "same-1", "--trace"),
    simulate(t, [], "--seed", "same-1", "--trace"),
    simulate(t, [], "--seed", "same-2"),
  ]);
  const hash = hashOf(first);
  assert.ok(hash !== undefined && hash === hashOf(second));
  assert.notEqual(hashOf(other), hash);
  // Process ids and trace ids are the machine's; everything that happened is the seed's.
  const happened = ({ stdout }: Ran) => stdout.split("\n").filter((line) => /^ +\d+\.\d{3} {2}\S/.test(line));
  assert.ok(happened(first).length > 200);
  assert.deepEqual(happened(first), happened(second));
});

test("a planted fault makes the command fail, with seed, violation and a schedule that fails again", async (t) => {
  const cwd = await mkdtemp(join(tmpdir(), "sluice-simulation-"));
  t.after(() => rm(cwd, { recursive: true }));
  const planted = ["--import", join(import.meta.dirname, "plant.ts")];
  const found = await run(cwd, planted, "--schedules", "6", "--seed", "planted");
  assert.equal(found.code, 1, found.stdout + found.stderr);
  const [, seed, violation] = /^seed (planted-\d+): VIOLATION (\S+)$/m.exec(found.stdout) ?? [];
  assert.ok(seed !== undefined && violation !== undefined, found.stdout);
  const file = join(".sluice", "simulation", `${seed}.json`);
  assert.ok(JSON.parse(await readFile(join(cwd, file), "utf8")).steps.length <= 6);
  const again = await run(cwd, planted, "--schedule", file);
  assert.equal(again.code, 1);
  assert.ok(again.stdout.includes(`seed ${seed}: VIOLATION ${violation}`), again.stdout);
  const mended = await run(cwd, [], "--schedule", file);
  assert.equal(mended.code, 0, mended.stdout);
});

test("wrong arguments are told as that", async (t) => {
  for (const args of [
    ["--schedules", "none"],
    ["--seed", ""],
    ["--nonsense"],
    ["--schedule", "a", "--seed", "b"],
  ]) {
    const { code, stderr } = await simulate(t, [], ...args);
    assert.equal(code, 64, args.join(" "));
    assert.match(stderr, /^simulate: /);
  }
  const { code } = await simulate(t, [], "--schedule", "missing.json");
  assert.equal(code, 65);
});
