import assert from "node:assert/strict";
import { test } from "node:test";
import type { ClusterSeen, IntentRecord, ProxySeen } from "@sluice/contracts";
import { countVotes, judgeCluster } from "./cluster-states.ts";

const now = Date.UTC(2026, 0, 1, 12);
const nobody = { live: 0, dead: 0 };

function seen(heardMsAgo: number, unreachableMs?: number): ClusterSeen {
  const heardAt = now - heardMsAgo;
  const api =
    unreachableMs === undefined
      ? { reachable: true, since: 0 }
      : { reachable: false, since: now - unreachableMs, error: "connection refused" };
  const record = {
    cluster: "member1",
    heartbeatAt: heardAt,
    api,
    labels: {},
    waiting: [],
    exports: 1,
    watcher: "w",
  };
  return { record, heardAt };
}

function drain(more: Partial<IntentRecord> = {}): IntentRecord {
  return { verb: "drain", cluster: "member1", at: now, by: "ada", ...more };
}

function proxy(agoMs: number, verdict: "alive" | "dead" | null, up = true): ProxySeen {
  const clusters = verdict === null ? {} : { clusters: [{ cluster: "member1", verdict, since: 0 }] };
  const record = {
    fleet: "default",
    proxy: "p",
    at: now,
    revision: 1,
    source: "bus" as const,
    nginx: { up, reloads: 0 },
    rows: { routes: 0, upstreams: 0, peers: 0, profiles: 0 },
    problems: [],
    ejected: [],
    ...clusters,
  };
  return { record, heardAt: now - agoMs };
}

test("drained comes before down, down before stale, stale before ok", () => {
  const dead = { live: 1, dead: 1 };
  assert.equal(judgeCluster(seen(40_000), drain(), dead, now).state, "drained");
  assert.equal(judgeCluster(seen(40_000), undefined, dead, now).state, "down");
  assert.equal(judgeCluster(seen(40_000), undefined, nobody, now).state, "stale");
  assert.deepEqual(judgeCluster(seen(1000), undefined, nobody, now), { state: "ok" });
  assert.deepEqual(judgeCluster(undefined, undefined, nobody, now), { state: "ok" });
});

test("a drain says who ordered it and why, and whether it was forced", () => {
  assert.deepEqual(judgeCluster(seen(0), drain({ reason: "kernel update" }), nobody, now), {
    state: "drained",
    reason: "drained by ada: kernel update",
  });
  assert.deepEqual(judgeCluster(seen(0), drain({ force: true }), nobody, now), {
    state: "drained",
    reason: "drained by ada",
    forced: true,
  });
});

test("a cluster is down when most of three or more live proxies say so, or all of fewer", () => {
  const down = (live: number, dead: number) =>
    judgeCluster(seen(0), undefined, { live, dead }, now).state === "down";
  const table = [1, 2, 3, 4, 5].map((live) => {
    const needed = Array.from({ length: live + 1 }, (_, dead) => dead).find((dead) => down(live, dead));
    return [live, needed];
  });
  assert.deepEqual(table, [
    [1, 1],
    [2, 2],
    [3, 2],
    [4, 3],
    [5, 3],
  ]);
  assert.equal(down(0, 0), false);
  assert.match(judgeCluster(seen(0), undefined, { live: 3, dead: 2 }, now).reason ?? "", /2 of 3 proxies/);
});

test("only proxies that were heard of lately and whose nginx runs have a vote", () => {
  const votes = (proxies: ProxySeen[]) => countVotes(proxies, now)("member1");
  assert.deepEqual(votes([proxy(0, "dead"), proxy(11_000, "alive"), proxy(0, "alive", false)]), {
    live: 1,
    dead: 1,
  });
  // One that knows nothing of the cluster does not call it dead.
  assert.deepEqual(votes([proxy(0, "dead"), proxy(0, null)]), { live: 2, dead: 1 });
  assert.deepEqual(countVotes([proxy(0, "dead")], now)("member2"), { live: 1, dead: 0 });
});

test("the reason of a stale cluster stays the same while time goes on", () => {
  const silent = judgeCluster(seen(40_000), undefined, nobody, now);
  assert.deepEqual(judgeCluster(seen(40_000), undefined, nobody, now + 60_000), silent);
  assert.equal(silent.reason, "nothing heard from its member-watcher since 2026-01-01T11:59:20.000Z");
  const away = judgeCluster(seen(1000, 35_000), undefined, nobody, now);
  assert.equal(away.state, "stale");
  assert.equal(away.reason, "its API does not answer since 2026-01-01T11:59:25.000Z: connection refused");
});
