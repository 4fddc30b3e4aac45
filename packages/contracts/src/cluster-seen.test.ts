import assert from "node:assert/strict";
import { test } from "node:test";

import { isClusterStale, sawCluster } from "./cluster-seen.ts";
import type { ClusterRecord } from "./records.ts";

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
  assert.equal(isClusterStale(seen, 1_015_000), false);
  assert.equal(isClusterStale(seen, 1_041_000), true);
});

test("what a watcher's clock says is not asked where the server says when it took its first record", () => {
  const hour = 3_600_000;
  const behind = sawCluster(undefined, at(10 * hour - hour), 10 * hour, 10 * hour - 1000);
  assert.equal(isClusterStale(behind, 10 * hour), false);
  const longSilent = sawCluster(undefined, at(10 * hour + hour), 10 * hour, 10 * hour - 40_000);
  assert.equal(isClusterStale(longSilent, 10 * hour), true);
});

test("a record that comes again unchanged is no heartbeat", () => {
  let seen = sawCluster(undefined, at(1_000_000), 1_000_000);
  seen = sawCluster(seen, at(1_000_000), 1_025_000);
  assert.equal(isClusterStale(seen, 1_031_000), true);
});

test("a cluster is stale when its API has been unreachable for half a minute", () => {
  const seen = sawCluster(undefined, at(1_020_000, { reachable: false, since: 1_000_000 }), 1_020_000);
  assert.equal(isClusterStale(seen, 1_025_000), false);
  assert.equal(isClusterStale(seen, 1_031_000), true);
});

test("a watcher that has not listed its Nodes yet takes away nothing that was known of them", () => {
  const known = sawCluster(undefined, { ...at(1), nodeCidrs: ["10.1.0.0/16"] }, 1);
  const { nodeCidrs: _none, ...started } = at(2);
  assert.deepEqual(sawCluster(known, started, 2).record.nodeCidrs, ["10.1.0.0/16"]);
  assert.deepEqual(sawCluster(known, at(2), 2).record.nodeCidrs, [], "listed, and there is no Node");
});
