import assert from "node:assert/strict";
import { test } from "node:test";
import type { ClusterRecord } from "@sluice/contracts";
import { allowedCidrs, isStale, sawCluster } from "./cluster-rows.ts";

const at = (
  heartbeatAt: number,
  api: ClusterRecord["api"] = { reachable: true, since: 0 },
): ClusterRecord => ({
  cluster: "member1",
  heartbeatAt,
  api,
  labels: {},
  nodeCidrs: [],
  waiting: [],
  exports: 0,
  watcher: "w",
});

test("a cluster whose clock is wrong is not stale while its heartbeats come in", () => {
  let seen = sawCluster(undefined, at(5_000_000), 1_000_000);
  seen = sawCluster(seen, at(5_010_000), 1_010_000);
  assert.equal(isStale(seen, 1_015_000), false);
  assert.equal(isStale(seen, 1_041_000), true);
});

test("a record that comes again unchanged is no heartbeat", () => {
  let seen = sawCluster(undefined, at(1_000_000), 1_000_000);
  seen = sawCluster(seen, at(1_000_000), 1_025_000);
  assert.equal(isStale(seen, 1_031_000), true);
});

test("a cluster is stale when its API has been unreachable for half a minute", () => {
  const seen = sawCluster(undefined, at(1_020_000, { reachable: false, since: 1_000_000 }), 1_020_000);
  assert.equal(isStale(seen, 1_025_000), false);
  assert.equal(isStale(seen, 1_031_000), true);
});

test("a loopback range counts only from a person and only from /16 on", () => {
  assert.deepEqual(allowedCidrs(["127.0.0.0/24", "10.0.0.0/16"], ["127.11.0.0/16", "127.0.0.0/8", "no"]), [
    "10.0.0.0/16",
    "127.11.0.0/16",
  ]);
});
