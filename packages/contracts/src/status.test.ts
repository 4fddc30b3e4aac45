import assert from "node:assert/strict";
import { test } from "node:test";
import { BadRecordError } from "./errors.ts";
import { readStatus } from "./status.ts";

/** As the first gateways answered. */
const first = {
  at: 1,
  findings: [],
  missing: [],
  bus: { connected: true },
  components: [],
  work: [],
  clusters: [],
  orders: [],
  services: [],
  routes: { hosts: 0, paths: 0, problems: [] },
  proxies: [],
};

test("the status of a gateway from before rollouts is read", () => {
  assert.deepEqual(readStatus(first, "status"), { ...first, rollouts: [] });
});

test("the status of a gateway from before settings could be refused is read", () => {
  const rollout = {
    fleet: "default",
    state: "settled",
    profiles: 1,
    fresh: 0,
    admitted: [],
    running: [],
    refused: [],
  };
  const { rollouts } = readStatus({ ...first, rollouts: [rollout] }, "status");
  assert.deepEqual(rollouts, [{ ...rollout, refusedSettings: [] }]);
});

test("what is no status is refused, and the field is named", () => {
  assert.throws(() => readStatus(null, "status"), BadRecordError);
  assert.throws(() => readStatus({ ...first, rollouts: 3 }, "status"), /rollouts/);
  assert.throws(() => readStatus({ ...first, rollouts: [null] }, "status"), /rollouts/);
  const { clusters: _, ...less } = first;
  assert.throws(() => readStatus(less, "status"), /clusters/);
});
