import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { type TestContext, test } from "node:test";
import { parse } from "yaml";
import { isObject, objectAt, textAt } from "./json.ts";

const MAIN = join(import.meta.dirname, "main.ts");

async function folder(t: TestContext): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), "sandbox-main-"));
  t.after(() => rm(path, { recursive: true, force: true }));
  return path;
}

async function start(t: TestContext, args: string[]): Promise<{ child: ChildProcess; ready: unknown }> {
  const child = spawn(process.execPath, [MAIN, ...args], { stdio: ["ignore", "pipe", "inherit"] });
  t.after(() => child.kill("SIGKILL"));
  const [line] = (await once(createInterface({ input: child.stdout }), "line")) as [string];
  return { child, ready: JSON.parse(line) };
}

async function exitOf(child: ChildProcess): Promise<number | null> {
  if (child.exitCode !== null) return child.exitCode;
  const [code] = (await once(child, "exit", { signal: AbortSignal.timeout(60_000) })) as [number | null];
  return code;
}

test("it says where everything is in one line, breaks clusters on demand, and ends on SIGTERM", async (t) => {
  const stateDir = await folder(t);
  const { child, ready } = await start(t, ["--members", "2", "--state-dir", stateDir]);
  const clusters = objectAt(ready, "clusters");
  assert.deepEqual(Object.keys(clusters), ["hub", "member1", "member2"]);
  assert.equal(objectAt(clusters, "member2").podRange, "127.12.0.0/16");
  const file = textAt(objectAt(clusters, "member1"), "kubeconfig");
  assert.equal((await stat(file)).mode & 0o777, 0o600);
  const kubeconfig: unknown = parse(await readFile(file, "utf8"));
  assert.ok(isObject(kubeconfig) && kubeconfig["current-context"] === "member1");

  const control = objectAt(ready, "control");
  const headers = { authorization: `Bearer ${textAt(control, "token")}`, "content-type": "application/json" };
  const faults = `${textAt(control, "url")}/faults`;
  const url = textAt(objectAt(clusters, "member1"), "url");
  const refused = {
    method: "POST",
    headers,
    body: JSON.stringify({ cluster: "member1", api: "unauthorized" }),
  };
  assert.equal((await fetch(faults, { ...refused, headers: {} })).status, 401);
  assert.equal((await fetch(faults, refused)).status, 200);
  assert.equal((await fetch(`${url}/version`)).status, 401);
  const unknown = { ...refused, body: JSON.stringify({ cluster: "member1", api: "explode" }) };
  assert.equal((await fetch(faults, unknown)).status, 400);
  const state: unknown = await (await fetch(`${textAt(control, "url")}/state`, { headers })).json();
  const member = objectAt(objectAt(state, "clusters"), "member1");
  assert.deepEqual(member.faults, { api: "unauthorized", pods: "none" });

  child.kill("SIGTERM");
  assert.equal(await exitOf(child), 0);
  await assert.rejects(fetch(`${url}/version`), /fetch failed/);
});

test("it ends with its parent", async (t) => {
  const parent = spawn("sleep", ["60"]);
  t.after(() => parent.kill("SIGKILL"));
  const args = ["--members", "0", "--state-dir", await folder(t), "--parent-pid", String(parent.pid)];
  const { child } = await start(t, args);
  parent.kill("SIGKILL");
  const killedAt = performance.now();
  assert.equal(await exitOf(child), 0);
  t.diagnostic(`ended after ${(performance.now() - killedAt).toFixed(0)} ms`);
});

test("a wrong flag exits 64 and says what to write", async (t) => {
  const child = spawn(process.execPath, [MAIN, "--members", "many"], { stdio: ["ignore", "ignore", "pipe"] });
  t.after(() => child.kill("SIGKILL"));
  let err = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    err += text;
  });
  assert.equal(await exitOf(child), 64);
  assert.match(err, /--members takes a whole number/);
});
