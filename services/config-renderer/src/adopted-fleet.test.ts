import assert from "node:assert/strict";
import { test } from "node:test";
import { fleetKeys, type PeersRow, type UpstreamRow } from "@sluice/contracts";
import { AdoptedFleet } from "./adopted-fleet.ts";

test("while the hub is away a cluster keeps its share and its rank, whichever row came first", () => {
  const upstream: UpstreamRow = {
    id: "shop-web",
    namespace: "shop",
    service: "web",
    port: "",
    balance: "round_robin",
  };
  const peers: PeersRow = { upstream: upstream.id, cluster: "member1", share: 90, rank: 1, peers: [] };
  const plain: PeersRow = { upstream: upstream.id, cluster: "member2", peers: [] };
  const rows = [
    [fleetKeys.upstream("default", upstream.id), upstream],
    [fleetKeys.peers("default", upstream.id, "member1"), peers],
    [fleetKeys.peers("default", upstream.id, "member2"), plain],
  ] as const;
  for (const order of [rows, rows.toReversed()]) {
    const fleet = new AdoptedFleet("default");
    for (const [key, row] of order) fleet.note(key, row);
    const now = (cluster: string) => ({
      namespace: "shop",
      service: "web",
      cluster,
      ports: { "": [{ address: "10.1.0.1", port: 80 }] },
    });
    const [first] = [...fleet.peerRows(now("member1"))];
    assert.deepEqual(first?.[1], { ...peers, peers: now("member1").ports[""] });
    const [second] = [...fleet.peerRows(now("member2"))];
    assert.deepEqual(second?.[1], { ...plain, peers: now("member2").ports[""] });
    assert.deepEqual([...fleet.peerRows(now("member3"))], []);
  }
});
