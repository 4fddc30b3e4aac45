import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { describe, type TestContext, test } from "node:test";
import { fileURLToPath } from "node:url";

const trial = fileURLToPath(new URL("./testing/trial-service.ts", import.meta.url));
const inOrder = ["running", "stopping", "ended", "closed second", "closed first", ""].join("\n");

function start(t: TestContext, args: readonly string[] = [], env: Readonly<Record<string, string>> = {}) {
  const { SLUICE_LAUNCHER_PID: _, ...inherited } = process.env;
  const child = spawn(process.execPath, [trial, "--probe-port=0", ...args], {
    env: { ...inherited, ...env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  t.after(() => child.kill("SIGKILL"));
  const said = { stdout: "", stderr: "" };
  for (const stream of ["stdout", "stderr"] as const) {
    child[stream].setEncoding("utf8").on("data", (text: string) => {
      said[stream] += text;
    });
  }
  const ended = once(child, "close").then(([code, signal]) => code ?? signal);
  const says = (pattern: RegExp) =>
    t.waitFor(() => assert.match(said.stdout, pattern, said.stderr), { timeout: 60_000 });
  return { child, said, ended, says };
}

function launcher(t: TestContext): ChildProcess {
  const child = spawn(process.execPath, ["-e", "setInterval(() => {}, 1000)"], { stdio: "ignore" });
  t.after(() => child.kill("SIGKILL"));
  return child;
}

// Two at a time: a process takes most of a second to load.
describe("a service as a process", { concurrency: 2 }, () => {
  test("ends in order on SIGTERM, closes what it owns in reverse, and has logged it as JSON", async (t) => {
    const { child, said, ended, says } = start(t);
    await says(/running/);
    child.kill("SIGTERM");
    assert.equal(await ended, 0, said.stderr);
    assert.equal(said.stdout, inOrder);
    const lines = said.stderr
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line));
    assert.ok(lines.every((line) => line.service === "trial" && line.level === "info"));
    assert.deepEqual(
      lines.map((line) => line.msg),
      ["started", "stopping", "stopped"],
    );
  });

  test("goes on with its stop when more signals come", async (t) => {
    const { child, said, ended, says } = start(t);
    await says(/running/);
    child.kill("SIGTERM");
    await says(/stopping/);
    for (const signal of ["SIGTERM", "SIGINT", "SIGHUP", "SIGTERM"] as const) child.kill(signal);
    assert.equal(await ended, 0, said.stderr);
    assert.equal(said.stdout, inOrder);
  });

  test("ends in order when its launcher has gone", async (t) => {
    const parent = launcher(t);
    const { said, ended, says } = start(t, [], { SLUICE_LAUNCHER_PID: String(parent.pid) });
    await says(/running/);
    parent.kill("SIGKILL");
    assert.equal(await ended, 0, said.stderr);
    assert.equal(said.stdout, inOrder);
    assert.match(said.stderr, /launcher \(pid [0-9]+\) is gone/);
  });

  test("ends in order on an error that nobody caught, and exits with 1", async (t) => {
    const { said, ended } = start(t, ["--fail=uncaught"]);
    assert.equal(await ended, 1);
    assert.equal(said.stdout, inOrder);
    assert.match(said.stderr, /nobody catches shop/);
  });

  test("exits with the code of a fatal error, after closing what it owns", async (t) => {
    const { said, ended } = start(t, ["--fail=fatal"]);
    assert.equal(await ended, 69);
    assert.equal(said.stdout, "closed second\nclosed first\n");
    assert.match(said.stderr, /does not answer/);
  });

  test("ends in order on SIGTERM while it waits for what it cannot begin without", async (t) => {
    const { child, said, ended, says } = start(t, ["--fail=waiting"]);
    await says(/waiting/);
    child.kill("SIGTERM");
    assert.equal(await ended, 0, said.stderr);
    assert.equal(said.stdout, "waiting\nclosed second\nclosed first\n");
  });

  test("prints every flag with its variable on --help, and nothing else", async (t) => {
    const { said, ended } = start(t, ["--help"]);
    assert.equal(await ended, 0, said.stderr);
    assert.match(said.stdout, /--probe-port VALUE +[^\n]+\(default 9090\); SLUICE_PROBE_PORT\n/);
    assert.equal(said.stderr, "");
  });

  test("says one line and exits with 64 on a wrong variable", async (t) => {
    const { said, ended } = start(t, [], { SLUICE_INJECT_DELAY: "5" });
    assert.equal(await ended, 64);
    assert.equal(said.stdout, "");
    assert.match(said.stderr, /^sluice-trial: SLUICE_INJECT_DELAY=5: [^\n]+--inject-delay[^\n]+\n$/);
  });
});
