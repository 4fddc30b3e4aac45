import assert from "node:assert/strict";
import { test } from "node:test";
import type { MemberRecord } from "@sluice/contracts";
import { createKit } from "@sluice/service-kit";
import { WrongClocks } from "./wrong-clocks.ts";

const HOUR_MS = 3_600_000;
const record: MemberRecord = { role: "aggregator", process: "p", pid: 1, startedAt: 0, at: 0 };
const key = "aggregator.p";

function listening() {
  const kit = createKit({ service: "topology-gateway", signal: new AbortController().signal });
  const said: unknown[] = [];
  const log = Object.assign(Object.create(kit.log) as typeof kit.log, {
    warn: (fields: unknown, message: string) => void said.push([fields, message]),
  });
  const clocks = new WrongClocks({ log, metrics: kit.metrics });
  const counted = async () => {
    const all = await kit.metrics.registry.getMetricsAsJSON();
    return all.find(({ name }) => name === "sluice_wrong_clock_heartbeats_total")?.values[0]?.value ?? 0;
  };
  return { clocks, said, counted };
}

test("every heartbeat of a wrong clock is counted, and its process logged once with the subject", async () => {
  const { clocks, said, counted } = listening();
  for (let n = 0; n < 3; n++) clocks.heard(key, record, -HOUR_MS);
  assert.equal(await counted(), 3);
  assert.deepEqual(said, [
    [{ subject: "members/aggregator.p", aheadMs: -HOUR_MS }, "its clock is 3600 s behind the bus server's"],
  ]);
});

test("a clock that is a little off is neither counted nor logged", async () => {
  const { clocks, said, counted } = listening();
  for (const aheadMs of [0, 30_000, -30_000]) clocks.heard(key, record, aheadMs);
  assert.equal(await counted(), 0);
  assert.deepEqual(said, []);
});

test("a clock that was right meanwhile, or a process that was gone, is logged anew", () => {
  const { clocks, said } = listening();
  clocks.heard(key, record, HOUR_MS);
  clocks.heard(key, record, 0);
  clocks.heard(key, record, HOUR_MS);
  assert.equal(said.length, 2);
  clocks.forget(key);
  clocks.heard(key, record, HOUR_MS);
  assert.equal(said.length, 3);
});
