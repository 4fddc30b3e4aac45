import type { ClusterRecord } from "@sluice/contracts";

/** A record of `clusters` for tests. */
export const sampleCluster: ClusterRecord = {
  cluster: "member1",
  heartbeatAt: 1,
  api: { reachable: true, since: 1 },
  labels: {},
  waiting: [],
  exports: 1,
  watcher: "w",
};
