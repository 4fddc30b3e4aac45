import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { nextCheckMs, stretch } from "./pace.ts";
import { PeerHealth } from "./peer-health.ts";

test("a peer goes out after so many misses in a row and comes back after so many passes, and is certain of what it said last", () => {
  const times = fc.integer({ min: 1, max: 5 });
  fc.assert(
    fc.property(times, times, fc.array(fc.boolean(), { maxLength: 60 }), (misses, passes, checks) => {
      const health = new PeerHealth();
      let [out, run] = [false, 0];
      for (const [i, passed] of checks.entries()) {
        run = i > 0 && checks[i - 1] === passed ? run + 1 : 1;
        const changes = out ? passed && run >= passes : !passed && run >= misses;
        if (changes) out = !out;
        assert.equal(health.note(passed, { misses, passes }), changes);
        assert.equal(health.out, out);
        assert.equal(health.certain, passed !== out);
      }
    }),
  );
});

test("however large a fleet is, a peer that all are certain of is asked no more often than by ten proxies", () => {
  const interval = fc.integer({ min: 50, max: 60_000 });
  fc.assert(
    fc.property(
      interval,
      fc.integer({ min: 1, max: 1000 }),
      fc.double({ min: 0, max: 1, noNaN: true }),
      (ms, proxies, chance) => {
        const every = nextCheckMs(ms, true, proxies, 1, chance);
        const perInterval = (proxies * ms) / every;
        assert.ok(perInterval <= 10 / 0.9 + 1e-9, `${perInterval} checks an interval by ${proxies} proxies`);
        const doubting = nextCheckMs(ms, false, proxies, 1, chance);
        assert.ok(doubting >= ms * 0.9 - 1e-9 && doubting <= ms * 1.1 + 1e-9);
      },
    ),
  );
});

test("one proxy makes no more than 250 checks a second, whatever is asked of it", () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 50_000 }), fc.integer({ min: 50, max: 10_000 }), (peers, ms) => {
      const stretched = stretch((peers * 1000) / ms);
      // At an average chance.
      const perSecond = (peers * 1000) / nextCheckMs(ms, false, 1, stretched, 0.5);
      assert.ok(perSecond <= 250 + 1e-6 || stretched === 1, `${perSecond} checks a second`);
      assert.ok(perSecond <= 250 + 1e-6);
    }),
  );
});
