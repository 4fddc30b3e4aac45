import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { onStopSignal, type StopCause } from "./stop-signals.ts";

function listen(t: TestContext, deadlineMs = 60_000) {
  const causes: StopCause[] = [];
  const late = t.mock.fn();
  const listening = onStopSignal(deadlineMs, (cause) => causes.push(cause), late);
  t.after(() => listening[Symbol.dispose]());
  return { causes, late, listening };
}

for (const signal of ["SIGTERM", "SIGINT", "SIGHUP"] as const) {
  test(`the first ${signal} is the cause, and what follows is not heard`, (t) => {
    const { causes } = listen(t);
    process.emit(signal, signal);
    process.emit("SIGTERM", "SIGTERM");
    process.emit("SIGINT", "SIGINT");
    assert.deepEqual(causes, [{ signal }]);
  });
}

test("a stop that takes too long is late, once, and one that was in time is not", (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const { late, listening } = listen(t, 100);
  t.mock.timers.tick(1000);
  assert.equal(late.mock.callCount(), 0);
  process.emit("SIGTERM", "SIGTERM");
  t.mock.timers.tick(99);
  assert.equal(late.mock.callCount(), 0);
  t.mock.timers.tick(1);
  assert.equal(late.mock.callCount(), 1);
  listening[Symbol.dispose]();
  const inTime = listen(t, 100);
  process.emit("SIGTERM", "SIGTERM");
  inTime.listening[Symbol.dispose]();
  t.mock.timers.tick(1000);
  assert.equal(inTime.late.mock.callCount(), 0);
});

test("disposed of, it leaves no listener behind", () => {
  const before = process.listenerCount("SIGTERM");
  onStopSignal(
    1,
    () => {},
    () => {},
  )[Symbol.dispose]();
  assert.equal(process.listenerCount("SIGTERM"), before);
});
