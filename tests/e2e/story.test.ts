import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { freePort } from "@sluice/native-tools";

const root = fileURLToPath(new URL("../..", import.meta.url));

async function once(args: readonly string[]): Promise<{ code: number | null; out: string; err: string }> {
  const stateDir = await mkdtemp(join(tmpdir(), "sluice-once-"));
  const ports = ["--http-port", String(await freePort()), "--gateway-port", String(await freePort())];
  const child = spawn(
    "npm",
    ["start", "--silent", "--", "--once", "--state-dir", stateDir, ...ports, ...args],
    {
      cwd: root,
      stdio: ["ignore", "pipe", "pipe"],
    },
  );
  let out = "";
  let err = "";
  child.stdout.on("data", (chunk: Buffer) => {
    out += chunk.toString();
  });
  child.stderr.on("data", (chunk: Buffer) => {
    err += chunk.toString();
  });
  const code = await new Promise<number | null>((resolve) => child.once("exit", resolve));
  await rm(stateDir, { recursive: true, force: true, maxRetries: 10, retryDelay: 200 });
  return { code, out, err };
}

test("the story holds: answers, failover, and a frozen cluster, with no failed request", {
  timeout: 240_000,
}, async () => {
  const { code, out, err } = await once([]);
  assert.equal(code, 0, `${out}\n${err}`);
  assert.match(out, /Hello, world!\nVersion: 1\.0\.0\nHostname: web-[0-9a-z]+-[0-9a-z]{5}/);
  assert.match(out, /member2 alone answers/);
  const [, requests, failed] = /(\d+) requests, (\d+) failed/.exec(out) ?? [];
  assert.ok(Number(requests) > 50, `only ${requests} requests`);
  assert.equal(failed, "0");
});

const stages = [
  "member-watcher",
  "aggregator",
  "config-renderer",
  "proxy-agent",
  "propagator",
  "topology-gateway",
  "nats",
  "nginx",
];
for (const stage of stages) {
  test(`without ${stage} the story fails and names it`, { timeout: 240_000 }, async () => {
    const { code, out, err } = await once(["--processes", "--without", stage]);
    assert.equal(code, 1, `${out}\n${err}`);
    assert.match(err, new RegExp(`${stage} is missing`));
    const others = stages.filter((other) => other !== stage && err.includes(`${other} is missing`));
    assert.deepEqual(others, [], err);
  });
}
