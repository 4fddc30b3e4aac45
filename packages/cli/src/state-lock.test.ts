import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { AlreadyRunningError } from "@sluice/contracts";
import { lockState } from "./state-lock.ts";

function folder(t: TestContext): string {
  const dir = mkdtempSync(join(tmpdir(), "sluice-lock-"));
  t.after(() => rmSync(dir, { recursive: true, force: true }));
  return dir;
}

test("a folder that is held is refused with the pid of its holder, until it is let go", (t) => {
  const dir = folder(t);
  const held = lockState(dir, undefined);
  assert.throws(
    () => lockState(dir, undefined),
    (error: unknown) => error instanceof AlreadyRunningError && error.message.includes(`pid ${process.pid}`),
  );
  held[Symbol.dispose]();
  assert.equal(existsSync(join(dir, "lock")), false);
  lockState(dir, undefined)[Symbol.dispose]();
});

test("a child whose parent holds the lock for both may go on, and leaves it to the parent", (t) => {
  const dir = folder(t);
  const held = lockState(dir, undefined);
  lockState(dir, String(process.pid))[Symbol.dispose]();
  assert.equal(existsSync(join(dir, "lock")), true);
  held[Symbol.dispose]();
});

test("the lock of a process that died is taken over, also when its pid went to somebody else, or it is half written", (t) => {
  const dir = folder(t);
  const { pid } = spawnSync("true");
  for (const text of [
    JSON.stringify({ pid, since: "1" }),
    JSON.stringify({ pid: process.pid, since: "1" }),
    '{"pid":',
  ]) {
    writeFileSync(join(dir, "lock"), text);
    lockState(dir, undefined)[Symbol.dispose]();
  }
});
