import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import type { FleetCluster } from "@sluice/contracts";
import fc from "fast-check";
import {
  peersRow,
  routeRow,
  type TestNginx,
  type TestPod,
  testNginx,
  testPod,
} from "./testing/proxy-world.ts";

/** member1 and member2 with a pod each, on one upstream. */
async function twoClusters(t: TestContext, range: string): Promise<{ nginx: TestNginx; pods: TestPod[] }> {
  const nginx = await testNginx(t);
  const pods = [await testPod(t, `${range}.1`, "one"), await testPod(t, `${range}.2`, "two")];
  await nginx.apply(
    peersRow("web", "member1", pods[0]!),
    peersRow("web", "member2", pods[1]!),
    routeRow("shop.example.test", "web"),
  );
  return { nginx, pods };
}

/** Who answers over a few requests, sorted; a status where it is not 200. */
async function answering(nginx: TestNginx, path = "/", requests = 8): Promise<string[]> {
  const seen = new Set<string>();
  for (let i = 0; i < requests; i++) {
    const { status, body } = await nginx.get(path);
    seen.add(status === 200 ? body : String(status));
  }
  return [...seen].sort();
}

const state = (nginx: TestNginx, cluster: string, state: FleetCluster["state"], forced?: true) =>
  nginx.apply({ k: "cluster", cluster, state, ...(forced === undefined ? {} : { forced }) });

test("what a cluster's state says holds from the next request on, for every upstream, without a peers row", async (t) => {
  const { nginx, pods } = await twoClusters(t, "127.27.0");
  await nginx.apply(
    { k: "route", host: "cart.example.test", paths: [["P", "/", "cart", "default"]] },
    peersRow("cart", "member1", pods[0]!),
    peersRow("cart", "member2", pods[1]!),
  );
  for (const left of ["drained", "down"] as const) {
    await state(nginx, "member1", left);
    for (const host of ["shop.example.test", "cart.example.test"]) {
      for (let i = 0; i < 6; i++) assert.equal((await nginx.get("/", { host })).body, "two");
    }
    await state(nginx, "member1", "ok");
    assert.deepEqual(await answering(nginx), ["one", "two"]);
  }
});

test("a stale cluster is asked like any other", async (t) => {
  const { nginx } = await twoClusters(t, "127.27.1");
  await state(nginx, "member1", "stale");
  assert.deepEqual(await answering(nginx), ["one", "two"]);
});

test("when every cluster is down all are tried", async (t) => {
  const { nginx } = await twoClusters(t, "127.27.2");
  await state(nginx, "member1", "down");
  await state(nginx, "member2", "down");
  assert.deepEqual(await answering(nginx), ["one", "two"]);
  await state(nginx, "member2", "stale");
  assert.deepEqual(await answering(nginx), ["two"]);
});

test("a cluster that is down is out of one upstream and serves another that has nobody else", async (t) => {
  const { nginx, pods } = await twoClusters(t, "127.27.3");
  await nginx.apply(peersRow("alone", "member1", pods[0]!), peersRow("alone", "member2"), {
    k: "route",
    host: "alone.example.test",
    paths: [["P", "/", "alone", "default"]],
  });
  await state(nginx, "member1", "down");
  assert.deepEqual(await answering(nginx), ["two"]);
  assert.equal((await nginx.get("/", { host: "alone.example.test" })).body, "one");
});

test("a drained cluster serves on where it is the only one with peers, and stops once another has some", async (t) => {
  const { nginx, pods } = await twoClusters(t, "127.27.4");
  await nginx.apply(peersRow("web", "member2"));
  await state(nginx, "member1", "drained");
  assert.deepEqual(await answering(nginx), ["one"]);
  await nginx.apply(peersRow("web", "member2", pods[1]!));
  assert.deepEqual(await answering(nginx), ["two"]);
});

test("a forced drain holds also where nobody else has peers: 503, and no request arrives", async (t) => {
  const { nginx, pods } = await twoClusters(t, "127.27.5");
  await nginx.apply(peersRow("web", "member2"));
  await state(nginx, "member1", "drained", true);
  const before = pods[0]!.requests;
  const answer = await nginx.get("/");
  assert.equal(answer.status, 503);
  assert.equal(answer.headers["x-sluice-reason"], "no-peers");
  assert.equal(pods[0]!.requests, before);
  await state(nginx, "member1", "drained");
  assert.deepEqual(await answering(nginx), ["one"], "what was forced is an order like another again");
});

test("a request that fails elsewhere is not sent on to a drained cluster", async (t) => {
  const { nginx, pods } = await twoClusters(t, "127.27.6");
  await state(nginx, "member1", "drained");
  await pods[1]!.close();
  const before = pods[0]!.requests;
  assert.deepEqual(await answering(nginx), ["502"]);
  assert.equal(pods[0]!.requests, before);
  // Without the order it is.
  await state(nginx, "member1", "ok");
  assert.deepEqual(await answering(nginx), ["one"]);
});

test("of two drained clusters both serve when nobody else has peers", async (t) => {
  const { nginx } = await twoClusters(t, "127.27.7");
  await state(nginx, "member1", "drained");
  await state(nginx, "member2", "drained");
  assert.deepEqual(await answering(nginx), ["one", "two"]);
});

interface Case {
  readonly peers: number;
  readonly state: FleetCluster["state"];
  readonly forced: boolean;
}

/** Clusters that answer, by what docs/reference/cluster-states.md says; none: 503. */
function expected(clusters: readonly Case[]): number[] {
  const having = clusters.map((c, i) => ({ ...c, i })).filter(({ peers }) => peers > 0);
  const undrained = having.filter(({ state }) => state !== "drained");
  if (undrained.length === 0) return having.filter(({ forced }) => !forced).map(({ i }) => i);
  const up = undrained.filter(({ state }) => state !== "down");
  return (up.length > 0 ? up : undrained).map(({ i }) => i);
}

test("whatever states and peers three clusters have, those answer that should, and only an order empties an upstream", async (t) => {
  const nginx = await testNginx(t, { workers: 1 });
  const pods: TestPod[] = [];
  for (const cluster of [0, 1, 2]) pods.push(await testPod(t, `127.27.9.${cluster + 1}`, String(cluster)));
  await nginx.apply(routeRow("shop.example.test", "web"));
  const one = fc.record({
    peers: fc.integer({ min: 0, max: 1 }),
    state: fc.constantFrom("ok", "stale", "down", "drained"),
    forced: fc.boolean(),
  });
  await fc.assert(
    fc.asyncProperty(fc.tuple(one, one, one), async (clusters) => {
      for (const [i, each] of clusters.entries()) {
        const forced = each.state === "drained" && each.forced ? ([true] as const) : ([] as const);
        await state(nginx, `member${i}`, each.state, ...forced);
        await nginx.apply(peersRow("web", `member${i}`, ...pods.slice(i, i + each.peers)));
      }
      const answers = expected(clusters.map((c) => ({ ...c, forced: c.forced && c.state === "drained" })));
      const seen = await answering(nginx, "/", 6);
      assert.deepEqual(seen, answers.length === 0 ? ["503"] : answers.map(String));
      const ordered = clusters.every((c) => c.peers === 0 || (c.state === "drained" && c.forced));
      assert.equal(seen[0] === "503", ordered);
    }),
    { numRuns: 80 },
  );
});

test("a cluster that is down comes back by one request's trial, and its hold tells the agent until then", {
  timeout: 240_000,
}, async (t) => {
  const { nginx, pods } = await twoClusters(t, "127.27.8");
  const [pod] = pods;
  await pod!.close();
  assert.deepEqual(await answering(nginx, "/", 20), ["two"]);
  await state(nginx, "member1", "down");
  const held = async () => ((await nginx.client.state(t.signal)).held ?? []).map(({ cluster }) => cluster);
  assert.deepEqual(await held(), ["member1"]);
  await testPod(t, pod!.address, "back", pod!.port);
  // Requests go on: the hold ends after ten seconds, one of them tries the peer, and its answer ends the hold.
  await t.waitFor(
    async () => {
      await nginx.get("/");
      assert.deepEqual(await held(), []);
    },
    { interval: 50, timeout: 60_000 },
  );
  assert.deepEqual(await answering(nginx), ["two"], "the fleet's verdict still stands");
});
