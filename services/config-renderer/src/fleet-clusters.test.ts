import assert from "node:assert/strict";
import { test } from "node:test";
import type { ClusterRecord, IntentRecord } from "@sluice/contracts";
import { createKit } from "@sluice/service-kit";
import { FleetClusters } from "./fleet-clusters.ts";
import type { ConfigRendererOptions } from "./options.ts";

const record = (cluster: string, nodeCidrs?: string[]): ClusterRecord => ({
  cluster,
  heartbeatAt: 1,
  api: { reachable: true, since: 1 },
  labels: {},
  waiting: [],
  exports: 0,
  watcher: "member-watcher.a",
  ...(nodeCidrs === undefined ? {} : { nodeCidrs }),
});

test("a cluster that has not told where its peers may be is unknown, unless a person said so or it is unjoined", (t) => {
  const written = new Map<string, unknown>();
  const orders = new Map<string, Partial<IntentRecord>>();
  const end = new AbortController();
  t.after(() => end.abort());
  const clusters = new FleetClusters(
    { fleet: "default", peers: { member2: ["10.2.0.0/16"] } } as unknown as ConfigRendererOptions,
    {
      set: (key: string, row: unknown) => written.set(key, row),
      remove: (key: string) => written.delete(key),
    } as never,
    createKit({ service: "config-renderer", signal: end.signal }),
  );
  clusters.attach({ get: (key: string) => orders.get(key) } as never);
  clusters.changed("member1", record("member1"));
  clusters.changed("member2", record("member2"));
  // Nothing of it is known but that it is there: whoever calls the fleet whole takes its row from the proxies.
  assert.equal(clusters.unknown, "member1");
  assert.deepEqual([...written.keys()], ["default.clusters.member2"]);
  orders.set("unjoin.member1", { verb: "unjoin", cluster: "member1" });
  assert.equal(clusters.unknown, undefined);
  orders.clear();
  assert.equal(clusters.unknown, "member1");
  clusters.changed("member1", record("member1", []));
  assert.equal(clusters.unknown, undefined);
  assert.ok(written.has("default.clusters.member1"));
});
