import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { ChildExitedError, StartTimeoutError } from "@sluice/contracts";
import { startNginx } from "./nginx-process.ts";

/** A process that says something and then does what the shell makes of `script`, in place of nginx. */
async function stranger(t: TestContext, script: string) {
  const dir = await mkdtemp(join(tmpdir(), "sluice-nginx-process-"));
  t.after(() => rm(dir, { recursive: true, force: true }));
  const pidFile = join(dir, "nginx.pid");
  return {
    command: "sh",
    args: ["-c", `echo "its last words" >&2; ${script}`],
    env: { PID: pidFile },
    pidFile,
  };
}

const start = async (t: TestContext, script: string, startMs?: number) =>
  startNginx(await stranger(t, script), "127.0.0.1:1", t.signal, startMs);

test("an nginx that never writes its pid is ended, and said with its last words", async (t) => {
  const failed: unknown = await start(t, "exec sleep 600", 300).catch((error: unknown) => error);
  assert.ok(failed instanceof StartTimeoutError);
  assert.match(failed.message, /not listen after 300 ms: .*nginx\.pid has not its pid\. its last words/);
});

test("an nginx that never listens is ended, and said", async (t) => {
  const failed: unknown = await start(t, 'echo $$ > "$PID"; exec sleep 600', 300).catch(
    (error: unknown) => error,
  );
  assert.ok(failed instanceof StartTimeoutError);
  assert.match(failed.message, /accepts nothing on 127\.0\.0\.1:1/);
});

test("an nginx that ends is said with its last words, and nobody waits for it", async (t) => {
  const failed: unknown = await start(t, "exit 3").catch((error: unknown) => error);
  assert.ok(failed instanceof ChildExitedError);
  assert.match(failed.message, /nginx ended with 3: its last words/);
});
