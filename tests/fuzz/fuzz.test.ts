import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";

const main = join(import.meta.dirname, "main.ts");
/** Longer than any run here takes on a busy machine. */
const MOST_MS = 240_000;
/** Folder of a run's own, so that what it left behind can be told from what others have. */
const tmp = mkdtempSync(join(tmpdir(), "sluice-fuzz-test-"));
after(() => rmSync(tmp, { recursive: true, force: true }));

/** What a run has not cleaned up: folders, and processes that were started within them. */
function left(): readonly string[] {
  const processes = readdirSync("/proc").filter((pid) => {
    if (!/^[0-9]+$/.test(pid)) return false;
    try {
      return readFileSync(`/proc/${pid}/cmdline`, "utf8").includes(`${tmp}/sluice-fuzz-`);
    } catch (error) {
      // It has ended meanwhile.
      if (["ENOENT", "ESRCH"].includes((error as NodeJS.ErrnoException).code ?? "")) return false;
      throw error;
    }
  });
  return [...readdirSync(tmp).filter((name) => name.startsWith("sluice-fuzz-")), ...processes];
}

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
      { timeout: MOST_MS, killSignal: "SIGKILL", maxBuffer: 1 << 27, env: { ...process.env, TMPDIR: tmp } },
      (error, stdout, stderr) => {
        const late = error?.killed === true ? `\nnot done after ${MOST_MS} ms` : "";
        resolve({ code: error === null ? 0 : Number(error.code), stdout, stderr: stderr + late });
      },
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
    assert.doesNotMatch(stderr, /Error/);
    assert.deepEqual(left(), []);
    assert.match(
      stdout,
      /^violation of object plant-\d+: .*\n {2}\{.{1,600}(?:\}|… \(\d+ characters\))\n {2}again: npm run -s fuzz -- --seed plant-\d+$/m,
    );
  });
}

test("a run that is told to end does so in order, says what it found, and has failed", async () => {
  const child = spawn(process.execPath, [main, "--objects", "1000000", "--seed", "fixed"], {
    timeout: MOST_MS,
    killSignal: "SIGKILL",
    stdio: ["ignore", "pipe", "inherit"],
    env: { ...process.env, TMPDIR: tmp },
  });
  let said = "";
  child.stdout.on("data", (chunk: Buffer) => {
    said += chunk.toString();
  });
  const ended = once(child, "close");
  // Its nginx is there.
  while (left().length < 2 && child.exitCode === null) await delay(20);
  child.kill("SIGTERM");
  assert.deepEqual(await ended, [1, null]);
  assert.match(said, /^[0-9]+ objects of seed fixed: 0 violations/m);
  assert.deepEqual(left(), []);
});

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
