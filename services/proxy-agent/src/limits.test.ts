import assert from "node:assert/strict";
import { test } from "node:test";
import type { Rate } from "@sluice/contracts";
import fc from "fast-check";
import { luaProbe } from "./testing/lua-probe.ts";

interface Question {
  readonly limits: { readonly of: string; readonly rates: readonly Rate[] };
  /** Seconds before each request. */
  readonly after: readonly number[];
  /** Whose each is; absent: all are of one that was not seen before. */
  readonly addresses?: readonly string[];
  /** Without room for anybody new. */
  readonly full?: true;
}

interface Answer {
  readonly passed: readonly boolean[];
  readonly counters: Readonly<Record<string, number>>;
}

/** nginx's limit_req with nodelay, in whole numbers: what is above the rate, in request-seconds. */
function byNginx(rates: readonly Rate[], after: readonly number[]): boolean[] {
  const buckets = rates.map(() => ({ excess: 0, last: 0, new: true }));
  let now = 1000;
  return after.map((seconds) => {
    now += seconds;
    const next = rates.map((rate, i) => {
      const bucket = buckets[i]!;
      return bucket.new ? 0 : Math.max(0, bucket.excess - (now - bucket.last) * rate.requests + rate.seconds);
    });
    const passes = rates.every(({ burst, seconds: per }, i) => next[i]! <= burst * per);
    if (passes) for (const [i, excess] of next.entries()) buckets[i] = { excess, last: now, new: false };
    return passes;
  });
}

// Divisors of a minute, so that all of it is whole numbers on both sides.
const rate = fc.record({
  requests: fc.constantFrom(1, 2, 3, 4, 5, 6, 10, 12, 15, 20, 30, 60),
  seconds: fc.constant(60),
  burst: fc.nat(8),
});

test("what a rate lets pass is what nginx's limit_req would", { timeout: 120_000 }, async (t) => {
  const ask = await luaProbe<Question>(t, "limited");
  let of = 0;
  await fc.assert(
    fc.asyncProperty(
      fc.uniqueArray(rate, { minLength: 1, maxLength: 2, selector: ({ requests }) => requests }),
      fc.array(fc.oneof(fc.constant(0), fc.nat(5), fc.nat(200)), { minLength: 1, maxLength: 60 }),
      async (rates, after) => {
        const { passed } = (await ask({ limits: { of: `shop/${++of}`, rates }, after })) as Answer;
        assert.deepEqual(passed, byNginx(rates, after));
      },
    ),
    { numRuns: 300 },
  );
});

test("where there is no room to count clients the oldest are forgotten, all are served, and that is counted", async (t) => {
  const ask = await luaProbe<Question>(t, "limited");
  const limits = { of: "shop/web", rates: [{ requests: 1, seconds: 60, burst: 0 }] };
  const addresses = Array.from({ length: 50 }, (_, i) => `client${i}`);
  const after = addresses.map(() => 0);
  const { passed, counters } = (await ask({ limits, after, addresses, full: true })) as Answer;
  assert.deepEqual(new Set(passed), new Set([true]));
  assert.ok((counters["limits_forgotten"] ?? 0) > 0, JSON.stringify(counters));
  // Those that are counted now are held to it.
  const again = (await ask({ limits, after: [0], addresses: ["client49"] })) as Answer;
  assert.deepEqual(again.passed, [false]);
});
