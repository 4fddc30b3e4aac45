// Run by main.ts in a network namespace of its own.
import assert from "node:assert/strict";
import { test } from "node:test";
import { blackhole, shortcomings } from "./blackhole.ts";

const timeout = 180_000;

for (const fault of ["freeze", "drop"] as const) {
  test(`${fault}: with checks no request fails, the member is out within a second and comes back without a burst`, {
    timeout,
  }, async (t) => {
    const figures = await blackhole("checks", fault, t.signal);
    t.diagnostic(JSON.stringify(figures));
    assert.deepEqual(shortcomings(figures), []);
  });

  test(`${fault}: by failing requests alone no request fails, but the member is out late or back late, and that is found`, {
    timeout,
  }, async (t) => {
    const figures = await blackhole("passive", fault, t.signal);
    t.diagnostic(JSON.stringify(figures));
    assert.deepEqual([figures.failed, figures.first_failure], [0, null]);
    assert.ok(figures.ejected_ms !== null && figures.back_ms !== null);
    assert.match(shortcomings(figures).join("; "), /was out after|came back after/, "what checks are for");
  });
}

test("freeze: with neither checks nor a first-byte limit it falls short, and that is found", {
  timeout,
}, async (t) => {
  const figures = await blackhole("nothing", "freeze", t.signal);
  t.diagnostic(JSON.stringify(figures));
  const found = shortcomings(figures).join("; ");
  assert.match(found, /the member was never out/);
  assert.match(found, /a request took|requests failed/);
});
