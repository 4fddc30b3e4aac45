// What the balancing methods promise, as properties, over the Lua that runs in nginx.
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Balance } from "@sluice/contracts";
import fc from "fast-check";
import type { NginxRow, PeerEntry } from "./nginx-row.ts";
import { balancerProbe } from "./testing/balancer-probe.ts";

const row = (cluster: string, peers: readonly PeerEntry[], upstream = "web"): NginxRow => ({
  k: "peers",
  upstream,
  cluster,
  peers,
});
const address = (i: number): string => `10.0.${Math.floor(i / 250)}.${(i % 250) + 1}`;
const plain = (from: number, to: number): PeerEntry[] =>
  Array.from({ length: to - from }, (_, i) => [address(from + i), 80, 1] as const);
const keys = (n: number): string[] => Array.from({ length: n }, (_, i) => `key-${i}`);
const hash: Balance = { method: "hash", by: [{ variable: "arg_key" }] };

function tally(chosen: readonly string[]): Map<string, number> {
  const all = new Map<string, number>();
  for (const each of chosen) all.set(each, (all.get(each) ?? 0) + 1);
  return all;
}

/** How many of these expectations of a fair draw are missed by chance alone: none, by six standard deviations. */
function fair(count: number, of: number, share: number): boolean {
  return Math.abs(count - of * share) <= 6 * Math.sqrt(of * share * (1 - share)) + 1;
}

const distinct = (most: number, least = 1) =>
  fc.uniqueArray(fc.integer({ min: 0, max: 5000 }), { minLength: least, maxLength: most });
let upstreams = 0;
const fresh = (): string => `web-${upstreams++}`;

test("with weights every peer gets its share in every round, spread over it", async (t) => {
  const probe = await balancerProbe(t);
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.integer({ min: 1, max: 12 }), { minLength: 1, maxLength: 20 }),
      async (weights) => {
        const of = fresh();
        const peers = weights.map((weight, i): PeerEntry => [address(i), 80, weight]);
        const total = weights.reduce((sum, weight) => sum + weight, 0);
        const rounds = 5;
        const [chosen = []] = await probe.choose({
          rows: [row("member1", peers, of)],
          of,
          times: total * rounds,
        });
        for (const [i, weight] of weights.entries()) {
          const at = chosen.flatMap((peer, n) => (peer === address(i) ? [n] : []));
          assert.ok(
            Math.abs(at.length - weight * rounds) <= 1,
            `${at.length} for weight ${weight} of ${total}`,
          );
          const gaps = at.slice(1).map((n, k) => n - at[k]!);
          assert.ok(Math.max(0, ...gaps) <= 2 * Math.ceil(total / weight), `a gap of ${Math.max(...gaps)}`);
        }
      },
    ),
    { numRuns: 40 },
  );
});

test("where a peer comes or goes before every request, all get their shares of what they were there for", async (t) => {
  const probe = await balancerProbe(t);
  const requests = 600;
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.constantFrom(1, 1, 2, 5), { minLength: 2, maxLength: 6 }),
      fc.constantFrom(1, 4),
      async (weights, extra) => {
        const of = fresh();
        const staying = weights.map((weight, i): PeerEntry => [address(i + 1), 80, weight]);
        const guest: PeerEntry = [address(0), 80, extra];
        const chosen = await probe.choose(
          ...Array.from({ length: requests }, (_, n) => ({
            // At the head of the list, where whoever begins anew would begin.
            rows: [row("member1", n % 2 === 0 ? [guest, ...staying] : staying, of)],
            of,
            times: 1,
          })),
        );
        const counts = tally(chosen.flat());
        const total = weights.reduce((sum, weight) => sum + weight, 0);
        const shareOf = (weight: number) => (weight / (total + extra) + weight / total) / 2;
        for (const [i, weight] of weights.entries()) {
          const count = counts.get(address(i + 1)) ?? 0;
          assert.ok(
            fair(count, requests, shareOf(weight)),
            `${count} of ${requests} for ${weight} of ${total}`,
          );
        }
        const asked = counts.get(address(0)) ?? 0;
        assert.ok(
          fair(asked, requests, extra / (total + extra) / 2),
          `${asked} for the one that comes and goes`,
        );
      },
    ),
    { numRuns: 10 },
  );
});

test("hash: every peer gets its share of the keys, by weight", async (t) => {
  const probe = await balancerProbe(t);
  await fc.assert(
    fc.asyncProperty(
      distinct(30, 2),
      fc.array(fc.integer({ min: 1, max: 5 }), { minLength: 30 }),
      fc.boolean(),
      async (at, given, weighted) => {
        const of = fresh();
        const weights = at.map((_, i) => (weighted ? given[i]! : 1));
        const peers = at.map((n, i): PeerEntry => [address(n), 80, weights[i]!]);
        const n = 4000;
        const [chosen = []] = await probe.choose({
          rows: [row("member1", peers, of)],
          of,
          balance: hash,
          keys: keys(n),
        });
        const seen = tally(chosen);
        const total = weights.reduce((sum, weight) => sum + weight, 0);
        for (const [i, peer] of at.entries()) {
          const count = seen.get(address(peer)) ?? 0;
          assert.ok(
            fair(count, n, weights[i]! / total),
            `${count} of ${n} for weight ${weights[i]} of ${total}`,
          );
        }
      },
    ),
    { numRuns: 20 },
  );
});

test("hash: a peer that comes or goes moves its own keys and no other, in whatever order peers and clusters stand", async (t) => {
  const probe = await balancerProbe(t);
  await fc.assert(
    fc.asyncProperty(distinct(40, 2), fc.nat(39), fc.boolean(), async (all, which, weighted) => {
      const of = fresh();
      const gone = all[which % all.length]!;
      const clusterOf = (n: number) => (n % 2 === 0 ? "member1" : "member2");
      const rows = (kept: readonly number[], ...clusters: readonly string[]) =>
        clusters.map((cluster) => {
          const own = kept.filter((n) => clusterOf(n) === cluster);
          return row(
            cluster,
            own.map((n): PeerEntry => [address(n), 80, weighted ? (n % 3) + 1 : 1]),
            of,
          );
        });
      const rest = all.filter((n) => n !== gone);
      const ask = { of, balance: hash, keys: keys(300) };
      const [before = [], , after = [], , again = []] = await probe.choose(
        { rows: rows(all, "member1", "member2"), ...ask },
        { rows: [{ k: "upstream", id: of, del: true }] },
        { rows: rows(rest.toReversed(), "member2", "member1"), ...ask },
        { rows: [{ k: "upstream", id: of, del: true }] },
        { rows: rows(all.toSorted(), "member2", "member1"), ...ask },
      );
      assert.deepEqual(again, before);
      for (const [i, peer] of before.entries()) {
        if (peer !== address(gone)) assert.equal(after[i], peer);
        else assert.notEqual(after[i], peer);
      }
    }),
    { numRuns: 40 },
  );
});

/** A cluster's row with its place among the others. */
const placed = (
  cluster: string,
  of: string,
  peers: readonly PeerEntry[],
  share?: number,
  rank?: number,
): NginxRow => ({
  k: "peers",
  upstream: of,
  cluster,
  ...(share === undefined ? {} : { share }),
  ...(rank === undefined ? {} : { rank }),
  peers,
});

test("clusters get their shares by every method, however many peers each has", async (t) => {
  const probe = await balancerProbe(t);
  const methods: (Balance | undefined)[] = [undefined, { method: "least_conn" }, { method: "ewma" }, hash];
  const cluster = fc.record({
    peers: fc.integer({ min: 1, max: 40 }),
    share: fc.integer({ min: 1, max: 1000 }),
  });
  await fc.assert(
    fc.asyncProperty(
      fc.array(cluster, { minLength: 2, maxLength: 4 }),
      fc.constantFrom(...methods),
      async (all, balance) => {
        const of = fresh();
        const n = 3000;
        const rows = all.map(({ peers, share }, i) =>
          placed(`member${i}`, of, plain(i * 50, i * 50 + peers), share),
        );
        const [chosen = []] = await probe.choose({
          rows,
          of,
          ...(balance === undefined ? {} : { balance }),
          ...(balance === hash ? { keys: keys(n) } : { times: n }),
        });
        const seen = tally(chosen);
        const total = all.reduce((sum, { share }) => sum + share, 0);
        for (const [i, { peers, share }] of all.entries()) {
          let count = 0;
          for (const [at] of plain(i * 50, i * 50 + peers)) count += seen.get(at) ?? 0;
          assert.ok(fair(count, n, share / total), `${count} of ${n} for share ${share} of ${total}`);
        }
      },
    ),
    { numRuns: 30 },
  );
});

test("clusters of the first rank are asked while any of them can be, then those of the next", async (t) => {
  const probe = await balancerProbe(t);
  const of = fresh();
  const draining = plain(0, 2).map(([at, port, weight]): PeerEntry => [at, port, weight, 1]);
  const rows = [
    placed("member1", of, plain(0, 2)),
    placed("member2", of, plain(2, 4)),
    placed("member3", of, plain(4, 6), undefined, 1),
    placed("member4", of, plain(6, 8), undefined, 2),
  ];
  const order = (cluster: string, state: "ok" | "down" | "drained"): NginxRow => ({
    k: "cluster",
    cluster,
    state,
  });
  const ask = { of, times: 60 };
  const found = await probe.choose(
    { rows, ...ask },
    { rows: [placed("member1", of, draining)], ...ask },
    { rows: [order("member2", "down")], ...ask },
    { rows: [placed("member3", of, [], undefined, 1)], ...ask },
    { rows: [order("member4", "drained")], ...ask },
    { rows: [order("member4", "ok"), order("member2", "ok")], ...ask },
  );
  const asked = found.map((chosen) => [...tally(chosen).keys()].sort());
  const peers = (...at: readonly number[]) => at.map(address);
  assert.deepEqual(asked, [
    peers(0, 1, 2, 3),
    peers(2, 3),
    peers(4, 5),
    peers(6, 7),
    peers(0, 1),
    peers(2, 3),
  ]);
});

test("a cluster with the share 0 gets requests only where no other has peers", async (t) => {
  const probe = await balancerProbe(t);
  const of = fresh();
  const [some = [], alone = [], plainly = []] = await probe.choose(
    { rows: [placed("member1", of, plain(0, 2), 5), placed("member2", of, plain(2, 4), 0)], of, times: 50 },
    { rows: [placed("member1", of, [], 5)], of, times: 50 },
    { rows: [placed("member1", of, plain(0, 2)), placed("member2", of, plain(2, 4))], of, times: 40 },
  );
  assert.deepEqual([...tally(some).keys()].sort(), [address(0), address(1)]);
  assert.deepEqual([...tally(alone).keys()].sort(), [address(2), address(3)]);
  // Shares that are taken away leave nothing behind.
  assert.deepEqual([...tally(plainly).values()], [10, 10, 10, 10]);
});

const cookie = (more: Partial<Balance["cookie"]> = {}): Balance => ({
  method: "cookie",
  cookie: { name: "SESSION", path: "/", ...more },
});
/** What a browser sends back. */
const pairOf = (header: string): string => /^(SESSION=[0-9a-f]+);/.exec(header)?.[1] ?? "no cookie";
const none = (n: number): string[] => Array.from({ length: n }, () => "");

for (const persistent of [false, true]) {
  const balance = cookie(persistent ? { persistent } : {});
  const mode = persistent ? "persistent" : "balanced";

  test(`${mode} sessions: each stays with its peer, and every peer gets its share of new ones`, async (t) => {
    const probe = await balancerProbe(t);
    await fc.assert(
      fc.asyncProperty(distinct(20, 2), async (at) => {
        const of = fresh();
        const rows = [
          row(
            "member1",
            at.map((n): PeerEntry => [address(n), 80, 1]),
            of,
          ),
        ];
        const began = await probe.sessions({ rows, of, balance, cookies: none(2000) });
        const seen = tally(began.map(({ peer }) => peer));
        for (const n of at) assert.ok(fair(seen.get(address(n)) ?? 0, 2000, 1 / at.length));
        const later = await probe.sessions({
          of,
          balance,
          cookies: began.map(({ cookie }) => pairOf(cookie)),
        });
        assert.deepEqual(
          later,
          began.map(({ peer }) => ({ peer, cookie: "" })),
        );
      }),
      { numRuns: 10 },
    );
  });

  test(`${mode} sessions: a peer that goes gives up its own only; one that comes ${persistent ? "takes none" : "takes its share"}`, async (t) => {
    const probe = await balancerProbe(t);
    await fc.assert(
      fc.asyncProperty(distinct(20, 3), async (all) => {
        const of = fresh();
        const [changed, ...rest] = all as [number, ...number[]];
        const rows = (at: readonly number[]) => [
          row(
            "member1",
            at.map((n): PeerEntry => [address(n), 80, 1]),
            of,
          ),
        ];
        const began = await probe.sessions({ rows: rows(all), of, balance, cookies: none(600) });
        const cookies = began.map(({ cookie }) => pairOf(cookie));
        const without = await probe.sessions({ rows: rows(rest), of, balance, cookies });
        for (const [i, { peer }] of began.entries()) {
          if (peer === address(changed)) assert.notEqual(without[i]!.peer, peer);
          else assert.deepEqual(without[i], { peer, cookie: "" });
        }
        const small = await probe.sessions({ rows: rows(rest), of, balance, cookies: none(600) });
        const grown = await probe.sessions({
          rows: rows(all),
          of,
          balance,
          cookies: small.map(({ cookie }) => pairOf(cookie)),
        });
        const moved = grown.filter(({ peer }, i) => peer !== small[i]!.peer);
        for (const [i, { peer, cookie }] of grown.entries()) {
          assert.equal(cookie !== "", peer !== small[i]!.peer);
        }
        assert.deepEqual(
          [...tally(moved.map(({ peer }) => peer)).keys()],
          persistent ? [] : [address(changed)],
        );
        if (!persistent) assert.ok(fair(moved.length, 600, 1 / all.length), `${moved.length} of 600 moved`);
      }),
      { numRuns: 15 },
    );
  });

  test(`${mode} sessions: a terminating peer keeps its own and gets no new one`, async (t) => {
    const probe = await balancerProbe(t);
    await fc.assert(
      fc.asyncProperty(distinct(12, 2), fc.integer({ min: 1, max: 11 }), async (at, n) => {
        const of = fresh();
        const leaving = new Set(at.slice(0, Math.min(n, at.length - 1)).map(address));
        const peers = at.map((i): PeerEntry => [address(i), 80, 1]);
        const draining = peers.map((peer): PeerEntry => (leaving.has(peer[0]) ? [peer[0], 80, 1, 1] : peer));
        const began = await probe.sessions({
          rows: [row("member1", peers, of)],
          of,
          balance,
          cookies: none(300),
        });
        const cookies = began.map(({ cookie }) => pairOf(cookie));
        const later = await probe.sessions({ rows: [row("member1", draining, of)], of, balance, cookies });
        assert.deepEqual(
          later,
          began.map(({ peer }) => ({ peer, cookie: "" })),
        );
        // As in a rolling update: newcomers take none of what terminating peers have.
        const rolled = await probe.sessions({
          rows: [row("member1", [...draining, [address(6000), 80, 1], [address(6001), 80, 1]], of)],
          of,
          balance,
          cookies,
        });
        for (const [i, { peer }] of began.entries()) {
          if (leaving.has(peer)) assert.deepEqual(rolled[i], { peer, cookie: "" });
        }
        const fresher = await probe.sessions({ of, balance, cookies: none(300) });
        for (const { peer, cookie } of fresher) {
          assert.ok(!leaving.has(peer), `a new session at ${peer}, which terminates`);
          assert.notEqual(pairOf(cookie), "no cookie");
        }
      }),
      { numRuns: 15 },
    );
  });

  test(`${mode} sessions: a drained cluster keeps its own and gets no new one, but none when that was forced`, async (t) => {
    const probe = await balancerProbe(t);
    const of = fresh();
    const rows = [row("member1", plain(0, 3), of), row("member2", plain(3, 6), of)];
    const began = await probe.sessions({ rows, of, balance, cookies: none(200) });
    const cookies = began.map(({ cookie }) => pairOf(cookie));
    const drained = { k: "cluster", cluster: "member1", state: "drained" } as const;
    const later = await probe.sessions({ rows: [drained], of, balance, cookies });
    assert.deepEqual(
      later,
      began.map(({ peer }) => ({ peer, cookie: "" })),
    );
    const second = new Set(plain(3, 6).map(([at]) => at));
    const fresher = await probe.sessions({ of, balance, cookies: none(200) });
    for (const { peer } of fresher) assert.ok(second.has(peer));
    const forced = await probe.sessions({ rows: [{ ...drained, forced: true }], of, balance, cookies });
    for (const { peer } of forced) assert.ok(second.has(peer));
  });

  for (const changes of [false, true]) {
    test(`${mode} sessions: after a failure the session ${changes ? "stays where it went" : "comes back"}`, async (t) => {
      const probe = await balancerProbe(t);
      const of = fresh();
      const own = cookie({
        ...(persistent ? { persistent } : {}),
        ...(changes ? { changeOnFailure: true } : {}),
      });
      const rows = [row("member1", plain(0, 3), of), row("member2", plain(3, 6), of)];
      const began = await probe.sessions({ rows, of, balance: own, cookies: none(200) });
      const cookies = began.map(({ cookie }) => pairOf(cookie));
      const failed = await probe.sessions({ of, balance: own, cookies, fails: true });
      const clusterOf = (at: string) => (plain(0, 3).some(([first]) => first === at) ? 1 : 2);
      for (const [i, { peer, cookie }] of failed.entries()) {
        assert.notEqual(peer, began[i]!.peer);
        assert.equal(cookie !== "", changes);
        assert.notEqual(clusterOf(peer), clusterOf(began[i]!.peer), "another cluster is tried first");
      }
      const later = await probe.sessions({
        of,
        balance: own,
        cookies: failed.map(({ cookie }, i) => (cookie === "" ? cookies[i]! : pairOf(cookie))),
      });
      const expected = changes ? failed : began;
      assert.deepEqual(
        later.map(({ peer }) => peer),
        expected.map(({ peer }) => peer),
      );
    });

    test(`${mode} sessions: while its peer is on hold a session ${changes ? "moves for good" : "is served by one other, and comes back"}`, async (t) => {
      const probe = await balancerProbe(t);
      const of = fresh();
      const own = cookie({
        ...(persistent ? { persistent } : {}),
        ...(changes ? { changeOnFailure: true } : {}),
      });
      const rows = [row("member1", plain(0, 4), of)];
      const [{ peer: home, cookie: said } = { peer: "", cookie: "" }] = await probe.sessions({
        rows,
        of,
        balance: own,
        cookies: none(1),
      });
      const failed = [home, 502, true] as const;
      await probe.choose({ at: of, failures: [failed, failed, failed] });
      const sent = pairOf(said);
      const meanwhile = await probe.sessions({ of, balance: own, cookies: Array(20).fill(sent) });
      for (const { peer, cookie } of meanwhile) {
        assert.notEqual(peer, home);
        assert.equal(cookie !== "", changes);
      }
      const kept = changes ? pairOf(meanwhile[0]?.cookie ?? "") : sent;
      const stands = await probe.sessions({ of, balance: own, cookies: Array(20).fill(kept) });
      assert.deepEqual(new Set(stands.map(({ peer }) => peer)), new Set([meanwhile[0]?.peer]));
      await probe.choose({ at: of, out: [home] }, { at: of, back: [home] });
      const later = await probe.sessions({ of, balance: own, cookies: Array(20).fill(kept) });
      assert.deepEqual(
        new Set(later.map(({ peer }) => peer)),
        new Set([changes ? meanwhile[0]?.peer : home]),
      );
    });
  }
}

test("a cookie that is none of ours begins a new session", async (t) => {
  const probe = await balancerProbe(t);
  for (const persistent of [false, true]) {
    const of = fresh();
    const balance = cookie(persistent ? { persistent } : {});
    const cookies = [
      "SESSION=",
      "SESSION=x",
      `SESSION=${"a".repeat(4000)}`,
      "SESSION=%00",
      "OTHER=1",
      "SESSION=0",
    ];
    const found = await probe.sessions({ rows: [row("member1", plain(0, 4), of)], of, balance, cookies });
    for (const { peer, cookie } of found) {
      assert.notEqual(peer, "");
      assert.notEqual(pairOf(cookie), "no cookie");
    }
  }
});

test("least_conn: peers that are slow or frozen get the less, equal ones get equal shares", async (t) => {
  const probe = await balancerProbe(t);
  const balance: Balance = { method: "least_conn" };
  const of = fresh();
  const [idle = []] = await probe.choose({
    rows: [row("member1", plain(0, 5), of)],
    of,
    balance,
    times: 2000,
  });
  for (const [, count] of tally(idle)) assert.ok(fair(count, 2000, 1 / 5), `${count} of 2000`);
  const [busy = []] = await probe.choose({ of, balance, times: 2000, open: 20, frozen: [address(0)] });
  const stuck = tally(busy).get(address(0)) ?? 0;
  // It keeps what it was given: once it has more in hand than any other, it gets no more.
  assert.ok(stuck < 40, `${stuck} of 2000 at the peer that never answers`);
  const weighted = fresh();
  const [shares = []] = await probe.choose({
    rows: [
      row(
        "member1",
        [
          [address(0), 80, 3],
          [address(1), 80, 1],
        ],
        weighted,
      ),
    ],
    of: weighted,
    balance,
    times: 2000,
  });
  assert.ok(fair(tally(shares).get(address(0)) ?? 0, 2000, 3 / 4));
});

test("ewma: a slow peer gets little until it is fast again, and a peer that never answers gets next to nothing", async (t) => {
  const probe = await balancerProbe(t);
  const balance: Balance = { method: "ewma" };
  const of = fresh();
  const slow = { [address(0)]: 0.5 };
  const all = { of, balance, times: 3000, tick: 0.01 };
  const [first = [], second = []] = await probe.choose(
    { rows: [row("member1", plain(0, 5), of)], ...all, seconds: slow },
    { ...all, tick: 0.05 },
  );
  const while_slow = tally(first.slice(200)).get(address(0)) ?? 0;
  assert.ok(while_slow < 2800 / 25, `${while_slow} of 2800 at the slow peer`);
  const after = tally(second.slice(2000));
  for (let i = 0; i < 5; i++)
    assert.ok((after.get(address(i)) ?? 0) > 100, `${after.get(address(i))} of 1000`);
  const [frozen = []] = await probe.choose({ ...all, open: 10, frozen: [address(1)] });
  const stuck = tally(frozen).get(address(1)) ?? 0;
  assert.ok(stuck < 150, `${stuck} of 3000 at the peer that never answers`);
});

test("ewma: a peer that is new gets a share of its own, not all requests", async (t) => {
  const probe = await balancerProbe(t);
  const balance: Balance = { method: "ewma" };
  const of = fresh();
  await probe.choose({ rows: [row("member1", plain(0, 4), of)], of, balance, times: 500, tick: 0.01 });
  const [chosen = []] = await probe.choose({
    rows: [row("member1", plain(0, 5), of)],
    of,
    balance,
    times: 200,
    open: 50,
    tick: 0.001,
  });
  const newcomer = tally(chosen).get(address(4)) ?? 0;
  assert.ok(newcomer > 10 && newcomer < 80, `${newcomer} of 200 at the new peer`);
});
