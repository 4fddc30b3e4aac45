import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { Backoff } from "./backoff.ts";

test("the ceiling doubles with each failure up to the cap, and a success begins anew", () => {
  const backoff = new Backoff(100, 1000, () => 1);
  assert.deepEqual(
    Array.from({ length: 6 }, () => backoff.next()),
    [100, 200, 400, 800, 1000, 1000],
  );
  backoff.reset();
  assert.equal(backoff.next(), 100);
});

test("a wait is anything from nothing to the ceiling, never more, after any number of failures", () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 10_000 }),
      fc.integer({ min: 1, max: 60_000 }),
      fc.double({ min: 0, max: 1, noNaN: true }),
      fc.integer({ min: 0, max: 3000 }),
      (base, cap, random, failures) => {
        const backoff = new Backoff(base, cap, () => random);
        for (let i = 0; i < failures; i++) backoff.next();
        const ms = backoff.next();
        assert.ok(ms >= 0 && ms <= Math.min(cap, base * 2 ** Math.min(failures, 30)));
      },
    ),
  );
});

test("many clients of one dead server do not come back in step", () => {
  const waits = Array.from({ length: 200 }, () => new Backoff(1000, 30_000).next());
  assert.equal(new Set(waits).size, waits.length);
  assert.ok(Math.min(...waits) < 200 && Math.max(...waits) > 800);
});
