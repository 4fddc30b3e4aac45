import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { converge, inTime } from "./converged.ts";

const began = () => performance.now();

test("what agrees at once has converged, and nothing is said against it", async (t) => {
  const come = await converge(async () => [], began(), 60_000, t.signal);
  assert.ok(come.ms !== null);
  assert.deepEqual(inTime(come, 60_000), []);
});

test("a look that ends after the limit is a violation, although nothing differs in it", async (t) => {
  const look = async () => {
    await delay(20);
    return [];
  };
  const come = await converge(look, began(), 10, t.signal);
  assert.deepEqual(come, { ms: null, left: [] });
  assert.deepEqual(inTime(come, 10), ["not converged within 0.01 s: all was as it shall be only after that"]);
});

test("what still differs at the limit is a violation each", async (t) => {
  const come = await converge(async () => ["cart has none", "search has none"], began(), 1, t.signal);
  assert.deepEqual(inTime(come, 1), [
    "not converged within 0.001 s: cart has none",
    "not converged within 0.001 s: search has none",
  ]);
});

test("what differed for a while and then no longer has converged", async (t) => {
  const seen = [["cart has none"], []];
  const come = await converge(async () => seen.shift() ?? [], began(), 60_000, t.signal);
  assert.deepEqual(inTime(come, 60_000), []);
  assert.ok(come.ms !== null && come.ms > 0);
});
