import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

const run = promisify(execFile);
const entry = fileURLToPath(new URL("./main.ts", import.meta.url));

async function fleetKey(dir: string): Promise<{ stdout: string; stderr: string }> {
  const node = ["--disable-warning=ExperimentalWarning", entry, "fleet-key", "--dir", dir];
  return run(process.execPath, node);
}

async function folder(t: TestContext): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), "sluice-fleet-key-"));
  t.after(() => rm(dir, { recursive: true, force: true }));
  return join(dir, "fleet-key");
}

test("a pair is written once, and what is told of it is not the private half", {
  timeout: 240_000,
}, async (t) => {
  const dir = await folder(t);
  const { stdout } = await fleetKey(dir);
  const file = join(dir, "fleet-key.json");
  assert.equal((await stat(file)).mode & 0o777, 0o600);
  const { d } = JSON.parse(await readFile(file, "utf8")) as { d: string };
  assert.ok(d.length === 43 && !stdout.includes(d));
  assert.ok(stdout.includes(file) && stdout.includes(join(dir, "fleet-key.pub.json")));
  assert.equal((await fleetKey(dir)).stdout, stdout);
});

test("a file that holds something else is left alone, and named", { timeout: 240_000 }, async (t) => {
  const dir = await folder(t);
  await fleetKey(dir);
  await writeFile(join(dir, "fleet-key.json"), "mine");
  await assert.rejects(fleetKey(dir), (error: Error & { code?: number; stderr?: string }) => {
    assert.equal(error.code, 65);
    assert.match(error.stderr ?? "", /fleet-key\.json holds no X25519 key.*\[SLUICE_FLEET_KEY\]/);
    return true;
  });
  assert.equal(await readFile(join(dir, "fleet-key.json"), "utf8"), "mine");
});
