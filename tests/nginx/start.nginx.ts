// Run by main.ts, which says by SLUICE_NGINX what nginx is.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { chmod, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { fileURLToPath } from "node:url";
import { ensureTool, freePort } from "@sluice/native-tools";

const start = fileURLToPath(new URL("../../scripts/start.ts", import.meta.url));

async function scratch(t: TestContext): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), "sluice-versions-"));
  t.after(() => rm(dir, { recursive: true, force: true, maxRetries: 10, retryDelay: 200 }));
  return dir;
}

/** `npm start -- --once` with what is said of nginx. */
async function startOnce(
  t: TestContext,
  dir: string,
  env: Readonly<Record<string, string>>,
): Promise<{ readonly code: number | null; readonly output: string }> {
  const ports = ["--http-port", String(await freePort()), "--gateway-port", String(await freePort())];
  const child = spawn(
    process.execPath,
    ["--disable-warning=ExperimentalWarning", start, "--once", "--state-dir", join(dir, "state"), ...ports],
    {
      env: { ...process.env, ...env },
      stdio: ["ignore", "pipe", "pipe"],
      signal: t.signal,
      killSignal: "SIGTERM",
    },
  );
  let output = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.on("data", (chunk: Buffer) => {
      output += chunk.toString();
    });
  }
  const code = await new Promise<number | null>((resolve, reject) => {
    child.once("error", reject);
    child.once("close", resolve);
  });
  return { code, output };
}

test("what is tested here is nginx 1.26", async (t) => {
  const { version } = await ensureTool("nginx", { signal: t.signal });
  assert.match(version, /^1\.26\./);
});

test("the story of npm start is told on it, with no failed request", { timeout: 240_000 }, async (t) => {
  const { code, output } = await startOnce(t, await scratch(t), {});
  assert.equal(code, 0, output);
  assert.match(output, /nginx and nats-server\s+1\.26\./);
  const [, requests, failed] = /(\d+) requests, (\d+) failed/.exec(output) ?? [];
  assert.ok(Number(requests) > 50, output);
  assert.equal(failed, "0", output);
});

test("a start on an nginx of a version that is not known is refused, and the version named", async (t) => {
  const dir = await scratch(t);
  const stub = join(dir, "nginx");
  // It takes every configuration: only its version speaks against it.
  await writeFile(stub, '#!/bin/sh\n[ "$1" != -v ] || echo "nginx version: nginx/9.9.9" >&2\n');
  await chmod(stub, 0o755);
  const { code, output } = await startOnce(t, dir, { SLUICE_NGINX: stub });
  assert.equal(code, 69, output);
  assert.match(
    output,
    /SLUICE_NGINX=\S+: \S+ is 9\.9\.9, a version that is not known here: 1\.22 or later, before 2\.0/,
  );
});
