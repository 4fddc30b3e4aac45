import assert from "node:assert/strict";
import { test } from "node:test";
import { type Clock, systemClock } from "./clock.ts";
import { TimeLimit } from "./time-limit.ts";

/** A clock whose sleeps end when the test says so. */
function handClock(): Clock & { ring(): void; sleeping(): number } {
  const sleepers = new Set<() => void>();
  return {
    ...systemClock,
    sleep: (_ms, signal) =>
      new Promise((resolve, reject) => {
        sleepers.add(resolve);
        const abort = () => {
          sleepers.delete(resolve);
          reject(signal.reason);
        };
        signal.addEventListener("abort", abort, { once: true });
      }),
    ring: () => {
      for (const wake of sleepers) wake();
    },
    sleeping: () => sleepers.size,
  };
}

test("its signal aborts when the clock says that the time is over", async () => {
  const clock = handClock();
  const limit = new TimeLimit(clock, 2000, new AbortController().signal);
  assert.equal(limit.signal.aborted, false);
  const aborted = new Promise((resolve) => limit.signal.addEventListener("abort", resolve));
  clock.ring();
  await aborted;
  assert.ok(limit.expired);
  assert.equal((limit.signal.reason as Error).name, "TimeoutError");
});

test("it aborts with the caller's signal, which is no expiry", () => {
  const caller = new AbortController();
  const limit = new TimeLimit(handClock(), 2000, caller.signal);
  caller.abort(new Error("enough"));
  assert.equal(limit.signal.reason, caller.signal.reason);
  assert.equal(limit.expired, false);
});

test("work that is done leaves no timer behind", () => {
  const clock = handClock();
  const limit = new TimeLimit(clock, 2000, new AbortController().signal);
  assert.equal(clock.sleeping(), 1);
  limit[Symbol.dispose]();
  assert.equal(clock.sleeping(), 0);
  assert.equal(limit.signal.aborted, false);
});
