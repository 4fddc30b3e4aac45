import assert from "node:assert/strict";
import { test } from "node:test";
import { createGuard } from "./guard.ts";

const never = new AbortController().signal;
const fail = async (): Promise<never> => {
  throw new Error("down");
};
/** Enough failures that the guard counts them. */
async function failOften(guard: ReturnType<typeof createGuard>): Promise<void> {
  for (let i = 0; i < 5; i++) await assert.rejects(guard.run(fail, never));
}

test("a guard hands through what the action returns or throws", async () => {
  const guard = createGuard({ name: "shop", timeoutMs: 1000 });
  assert.equal(await guard.run(async () => 7, never), 7);
  await assert.rejects(guard.run(fail, never), /down/);
  assert.equal(guard.open, false);
});

test("after most calls failed it opens and asks the target no more", async () => {
  const guard = createGuard({ name: "shop", timeoutMs: 1000, resetMs: 60_000 });
  await failOften(guard);
  assert.equal(guard.open, true);
  let asked = false;
  const run = guard.run(async () => {
    asked = true;
  }, never);
  await assert.rejects(run, { code: "EOPENBREAKER" });
  assert.equal(asked, false);
});

test("open, it lets one call try after a while: a success closes it, a failure opens it again", async (t) => {
  for (const recovers of [true, false]) {
    const guard = createGuard({ name: "shop", timeoutMs: 1000, resetMs: 20 });
    await failOften(guard);
    await t.waitFor(() => assert.equal(guard.open, false), { timeout: 60_000 });
    if (recovers) {
      assert.equal(await guard.run(async () => "up", never), "up");
      assert.equal(await guard.run(async () => "up", never), "up");
    } else {
      await assert.rejects(guard.run(fail, never), /down/);
    }
    assert.equal(guard.open, !recovers);
  }
});

test("an answer of the target, such as a conflict, does not open it", async () => {
  const guard = createGuard({
    name: "shop",
    timeoutMs: 1000,
    isAnswer: (e) => (e as Error).message === "409",
  });
  for (let i = 0; i < 20; i++) {
    await assert.rejects(
      guard.run(() => Promise.reject(new Error("409")), never),
      /409/,
    );
  }
  assert.equal(guard.open, false);
});

test("an action that hangs is aborted when its time is over", async () => {
  const guard = createGuard({ name: "shop", timeoutMs: 20 });
  // A timer of its own keeps the test alive: that of AbortSignal.timeout does not.
  const alive = setTimeout(() => {}, 240_000);
  const hang = (signal: AbortSignal) =>
    new Promise<void>((_, reject) => {
      signal.addEventListener("abort", () => reject(signal.reason));
    });
  await assert.rejects(guard.run(hang, never), { name: "TimeoutError" });
  clearTimeout(alive);
});

test("the caller's signal reaches the action with its reason", async () => {
  const guard = createGuard({ name: "shop", timeoutMs: 10_000 });
  const stop = new AbortController();
  const run = guard.run(
    (signal) =>
      new Promise<void>((_, reject) => {
        signal.addEventListener("abort", () => reject(signal.reason));
      }),
    stop.signal,
  );
  stop.abort(new Error("stopping"));
  await assert.rejects(run, /stopping/);
});
