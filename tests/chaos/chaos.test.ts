import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { randomInt } from "node:crypto";
import { once } from "node:events";
import { type TestContext, test } from "node:test";
import { fileURLToPath } from "node:url";
import { chaos } from "./chaos.ts";
import type { Result } from "./results.ts";

const main = fileURLToPath(new URL("./main.ts", import.meta.url));

/** Runs the command as a person does. */
async function run(t: TestContext, args: readonly string[]) {
  const child: ChildProcess = spawn(process.execPath, [main, ...args], { stdio: ["ignore", "pipe", "pipe"] });
  t.after(() => child.kill("SIGTERM"));
  const said = { stdout: "", stderr: "" };
  for (const stream of ["stdout", "stderr"] as const) {
    child[stream]?.setEncoding("utf8").on("data", (text: string) => {
      said[stream] += text;
    });
  }
  const [code] = (await once(child, "close")) as [number | null];
  return { code, ...said };
}

/** The command asks for ten seconds; how long it takes where others want the machine is no fault. */
const CONVERGE_MS = 120_000;
/** Its schedule kills a watcher and one nginx, and the bus with all that it has stored. */
const FIXED = 2693;
/** Its schedule is over soon. */
const SHORT = 3;

test("a fixed seed and a fresh one: no request fails, and all converges", async (t) => {
  const fresh = randomInt(1, 1_000_000);
  t.diagnostic(`the fresh seed is ${fresh}`);
  const said: string[] = [];
  const results: Result[] = [];
  await chaos({
    seeds: [FIXED, fresh],
    bus: "single",
    convergeMs: CONVERGE_MS,
    signal: t.signal,
    log: (line) => said.push(line),
    onResult: (result) => results.push(result),
  });
  assert.equal(results.length, 2);
  for (const { seed, outcome, requests, failed, converged_ms } of results) {
    assert.equal(outcome, "ok", `seed ${seed}:\n${said.join("\n")}`);
    t.diagnostic(`seed ${seed} converged after ${converged_ms} ms`);
    assert.ok(requests > 20, `${requests} requests`);
    assert.equal(failed, 0);
  }
});

test("pods that answer 500 and a row that nginx loses are found and named, and the exit is 1", async (t) => {
  const args = ["--schedules", "1", "--seed", String(SHORT), "--plant", "answer", "--plant", "row"];
  args.push("--converge-ms", String(CONVERGE_MS));
  const { code, stdout, stderr } = await run(t, args);
  assert.equal(code, 1, stderr);
  assert.match(stderr, /! GET cart\.example\.test by proxy-[12] failed after [0-9]+ ms: 500/);
  assert.match(stderr, /! proxy-1, cart: never answered by cart-member/);
  assert.match(stdout, /^1 schedules, 1 with violations\n/);
});

test("what is no usage of it is said, with exit 64", async (t) => {
  const { code, stderr } = await run(t, ["--schedules", "many"]);
  assert.equal(code, 64);
  assert.match(stderr, /--schedules takes a whole number from 1 to 1000000, not many/);
});
