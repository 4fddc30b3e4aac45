import assert from "node:assert/strict";
import { getEventListeners } from "node:events";
import { test } from "node:test";
import { LinkedAbort } from "./linked-abort.ts";

test("it aborts with any of the others, for that one's reason", () => {
  const [one, other] = [new AbortController(), new AbortController()];
  const linked = new LinkedAbort(one.signal, other.signal);
  assert.equal(linked.signal.aborted, false);
  const reason = new Error("enough");
  other.abort(reason);
  assert.equal(linked.signal.reason, reason);
});

test("it has aborted at once when one of the others had", () => {
  const reason = new Error("too late");
  const linked = new LinkedAbort(new AbortController().signal, AbortSignal.abort(reason));
  assert.equal(linked.signal.reason, reason);
});

test("it aborts alone, too, and the others know nothing of it", () => {
  const one = new AbortController();
  const linked = new LinkedAbort(one.signal);
  linked.abort();
  assert.equal((linked.signal.reason as Error).name, "AbortError");
  assert.equal(one.signal.aborted, false);
});

test("once it has aborted or was disposed of, the others keep nothing of it", () => {
  const long = new AbortController();
  for (const end of [
    (linked: LinkedAbort) => linked.abort(),
    (linked: LinkedAbort) => linked[Symbol.dispose](),
  ]) {
    const linked = new LinkedAbort(long.signal);
    assert.equal(getEventListeners(long.signal, "abort").length, 1);
    end(linked);
    assert.equal(getEventListeners(long.signal, "abort").length, 0);
  }
  const disposed = new LinkedAbort(long.signal);
  disposed[Symbol.dispose]();
  long.abort();
  assert.equal(disposed.signal.aborted, false);
});
