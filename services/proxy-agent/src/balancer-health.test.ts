// What becomes of peers that fail, miss their checks and come back, as properties, over the Lua that runs in nginx.
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Balance } from "@sluice/contracts";
import fc from "fast-check";
import type { NginxRow } from "./nginx-row.ts";
import { type BalancerProbe, balancerProbe, type Step } from "./testing/balancer-probe.ts";

const address = (i: number): string => `10.1.${Math.floor(i / 250)}.${(i % 250) + 1}`;
const range = (from: number, to: number): string[] =>
  Array.from({ length: to - from }, (_, i) => address(from + i));
let upstreams = 0;
const fresh = (): string => `web-${upstreams++}`;

function row(of: string, cluster: string, addresses: readonly string[], rank?: number): NginxRow {
  const peers = addresses.map((each) => [each, 80, 1] as const);
  return { k: "peers", upstream: of, cluster, ...(rank === undefined ? {} : { rank }), peers };
}

async function chosen(probe: BalancerProbe, ...steps: Step[]): Promise<string[]> {
  return (await probe.choose(...steps)).at(-1) ?? [];
}

function count(all: readonly string[], some: readonly string[]): number {
  return all.filter((each) => some.includes(each)).length;
}

/** Six standard deviations, and what turns that begin anywhere may add. */
const near = (n: number, of: number, share: number): boolean =>
  Math.abs(n - of * share) <= 6 * Math.sqrt(of * share * (1 - share)) + 3;

test("a peer that fails again and again while others answer is held longer each time, up to five minutes", async (t) => {
  const probe = await balancerProbe(t);
  const of = fresh();
  const [bad, good] = [address(0), address(1)];
  const failed = [bad, 502, true] as const;
  await probe.choose({ rows: [row(of, "member1", [bad, good])], at: of, failures: [failed, failed, failed] });
  for (let n = 1; n <= 33; n++) {
    const seconds = Math.min(10 * n, 300);
    const before = await chosen(probe, { passed: seconds - 1, of, times: 20 });
    assert.equal(count(before, [bad]), 0, `hold ${n} ended before ${seconds} s`);
    const after = await chosen(probe, { passed: 2, of, times: 20 });
    assert.equal(count(after, [bad]), 1, `after ${seconds} s one request tries it`);
    await probe.choose({ at: of, failures: [failed] });
  }
});

test("a peer that is the only one of its cluster to answer or not is tried again every ten seconds", async (t) => {
  const probe = await balancerProbe(t);
  const of = fresh();
  const bad = address(0);
  const failed = [bad, 502, true] as const;
  const rows = [row(of, "member1", [bad]), row(of, "member2", [address(1)])];
  await probe.choose({ rows, at: of, failures: [failed, failed, failed] });
  for (let n = 1; n <= 5; n++) {
    assert.equal(count(await chosen(probe, { passed: 11, of, times: 20 }), [bad]), 1);
    await probe.choose({ at: of, failures: [failed] });
  }
});

test("of peers that are slow half are held at most while their cluster answers; of those that refuse, all that do", async (t) => {
  const probe = await balancerProbe(t);
  await fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 2, max: 30 }),
      fc.integer({ min: 0, max: 29 }),
      fc.constantFrom([504, true], [504, false], [502, true] as const),
      async (size, more, [status, answers]) => {
        const of = fresh();
        const failing = Math.min(size - 1, more + 1);
        const all = range(0, size);
        const failures = all
          .slice(0, failing)
          .flatMap((each) =>
            Array.from({ length: 3 }, () => [each, Number(status), answers === true] as const),
          );
        const asked = new Set(
          await chosen(probe, { rows: [row(of, "member1", all)], at: of, failures }, { of, times: 4 * size }),
        );
        const capped = status === 504 && answers === true;
        const held = capped ? Math.min(failing, Math.max(1, Math.floor(size / 2))) : failing;
        assert.equal(size - asked.size, held, `${failing} of ${size} failed by ${status}`);
      },
    ),
    { numRuns: 60 },
  );
});

test("a group of failover shares with the next when less than five sevenths of it are sound", async (t) => {
  const probe = await balancerProbe(t);
  const methods: (Balance | undefined)[] = [undefined, { method: "least_conn" }];
  const group = fc.integer({ min: 1, max: 12 });
  await fc.assert(
    fc.asyncProperty(
      fc.tuple(group, group, group),
      fc.tuple(fc.nat(12), fc.nat(12), fc.nat(11)),
      fc.constantFrom(...methods),
      async (sizes, missing, balance) => {
        const of = fresh();
        const n = 1400;
        const groups = sizes.map((size, rank) => range(rank * 50, rank * 50 + size));
        const outs = groups.map((all, rank) => all.slice(0, Math.min(missing[rank]!, all.length)));
        // One peer at least is sound: when none is, it is another rule that holds.
        outs[2] = outs[2]!.slice(0, groups[2]!.length - 1);
        const rows = groups.map((all, rank) => row(of, `member${rank}`, all, rank));
        const all = await chosen(
          probe,
          { rows },
          { at: of, out: outs.flat() },
          { of, times: n, ...(balance === undefined ? {} : { balance }) },
        );
        let left = 1;
        const loads = groups.map((peers, rank) => {
          const load = Math.min(left, (1.4 * (peers.length - outs[rank]!.length)) / peers.length);
          left -= load;
          return load;
        });
        assert.equal(count(all, outs.flat()), 0, "a peer that misses its checks was asked");
        for (const [rank, peers] of groups.entries()) {
          const share = Math.min(1, loads[rank]! / (1 - left));
          const got = count(all, peers);
          assert.ok(
            near(got, n, share),
            `group ${rank} got ${got} of ${n} for ${share}: ${sizes} out ${outs.map((o) => o.length)}`,
          );
        }
      },
    ),
    { numRuns: 60 },
  );
});

test("a peer that checks bring back gets a tenth of its share, then more and more, then all of it", async (t) => {
  const probe = await balancerProbe(t);
  const of = fresh();
  const all = range(0, 4);
  const back = all.slice(0, 1);
  await probe.choose({ rows: [row(of, "member1", all)] }, { at: of, out: back });
  assert.equal(count(await chosen(probe, { of, times: 100 }), back), 0);
  await probe.choose({ at: of, back });
  const shares: number[] = [];
  for (let second = 0; second <= 10; second++) {
    shares.push(count(await chosen(probe, { of, times: 400 }), back) / 100);
    await probe.choose({ passed: 1 });
  }
  for (const [second, share] of shares.entries()) {
    const grown = Math.max(0.1, second / 10);
    // Beside three others that are whole.
    const fair = (4 * grown) / (3 + grown);
    assert.ok(Math.abs(share - fair) <= 0.12, `${share} of its share after ${second} s, not ${fair}`);
  }
});

test("a cluster that requests had found silent is asked again once checks reach a peer of it", async (t) => {
  const probe = await balancerProbe(t);
  const of = fresh();
  const [silent, other] = [address(0), address(1)];
  const missed = [silent, 504, false] as const;
  await probe.choose({ rows: [row(of, "member1", [silent]), row(of, "member2", [other])] });
  await probe.choose({ at: of, failures: [missed, missed, missed] }, { at: of, out: [silent] });
  assert.equal(count(await chosen(probe, { of, times: 100 }), [silent]), 0);
  await probe.choose({ at: of, back: [silent] });
  // It has a tenth of its share.
  const asked = count(await chosen(probe, { of, times: 400 }), [silent]);
  assert.ok(asked >= 10, `${asked} of 400`);
});

test("with slow-start a new peer grows into its share in that time, the first ones do not", async (t) => {
  const probe = await balancerProbe(t);
  const of = fresh();
  const slow: NginxRow = { k: "upstream", id: of, slow: 60 };
  const first = await chosen(probe, { rows: [slow, row(of, "member1", range(0, 3))] }, { of, times: 300 });
  for (const each of range(0, 3)) assert.ok(near(count(first, [each]), 300, 1 / 3));
  const next = await chosen(probe, { rows: [row(of, "member1", range(0, 4))] }, { of, times: 310 });
  assert.ok(count(next, [address(3)]) <= 20, `${count(next, [address(3)])} of 310 at once`);
  const later = await chosen(probe, { passed: 61, of, times: 400 });
  assert.ok(near(count(later, [address(3)]), 400, 1 / 4));
});

test("hash: a peer that grows into its share takes keys of its own only, and gives none to others", async (t) => {
  const probe = await balancerProbe(t);
  const of = fresh();
  const balance: Balance = { method: "hash", by: [{ variable: "arg_key" }] };
  const keys = Array.from({ length: 400 }, (_, i) => `key-${i}`);
  const ask = { of, balance, keys };
  const all = range(0, 6);
  const home = await chosen(probe, { rows: [row(of, "member1", all)] }, ask);
  await probe.choose({ at: of, out: [address(0)] });
  let before = await chosen(probe, ask);
  await probe.choose({ at: of, back: [address(0)] });
  for (let second = 0; second <= 11; second++) {
    const now = await chosen(probe, ask);
    for (const [i, peer] of now.entries()) {
      if (peer !== before[i]) assert.equal(peer, address(0), `key ${i} moved to another peer`);
    }
    before = now;
    await probe.choose({ passed: 1 });
  }
  assert.deepEqual(before, home);
});

test("sessions do not move while a peer grows, nor when groups share", async (t) => {
  const probe = await balancerProbe(t);
  const of = fresh();
  const balance: Balance = { method: "cookie", cookie: { name: "stay", path: "/" } };
  const rows = [row(of, "member1", range(0, 4), 0), row(of, "member2", range(50, 54), 1)];
  await probe.choose({ rows });
  const begun = await probe.sessions({ of, balance, cookies: Array.from({ length: 200 }, () => "") });
  const cookies = begun.map(({ cookie }) => cookie.split(";")[0] ?? "");
  const out = range(0, 3);
  await probe.choose({ at: of, out });
  const peersOf = async () => (await probe.sessions({ of, balance, cookies })).map(({ peer }) => peer);
  const meanwhile = await peersOf();
  for (const [i, { peer }] of begun.entries()) {
    if (!out.includes(peer)) assert.equal(meanwhile[i], peer, "the session of a sound peer moved");
  }
  await probe.choose({ at: of, back: out });
  const after = await peersOf();
  assert.deepEqual(
    after,
    begun.map(({ peer }) => peer),
  );
});

test("below the panic threshold all peers are asked, above it the sound ones", async (t) => {
  const probe = await balancerProbe(t);
  await fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 1, max: 20 }),
      fc.nat(20),
      fc.integer({ min: 0, max: 100 }),
      async (size, missing, panic) => {
        const of = fresh();
        const all = range(0, size);
        const out = all.slice(0, missing);
        const sound = size - out.length;
        const rows: NginxRow[] = [{ k: "upstream", id: of, panic }, row(of, "member1", all)];
        const asked = new Set(await chosen(probe, { rows }, { at: of, out }, { of, times: 5 * size }));
        const everybody = sound === 0 || sound * 100 < panic * size;
        assert.deepEqual([...asked].sort(), (everybody ? all : all.slice(missing)).toSorted());
      },
    ),
    { numRuns: 60 },
  );
});

test("requests are sent again within a fifth of those that came, and a hundred more in ten seconds", async (t) => {
  const probe = await balancerProbe(t);
  const moment = fc.tuple(
    fc.integer({ min: 0, max: 500 }),
    fc.double({ min: 0, max: 5, noNaN: true }),
    fc.integer({ min: 0, max: 500 }),
  );
  await fc.assert(
    fc.asyncProperty(fc.array(moment, { minLength: 1, maxLength: 40 }), async (budget) => {
      const granted = (await chosen(probe, { budget })).map(Number);
      let [came, seconds, sent] = [0, 0, 0];
      for (const [i, [requests, passed]] of budget.entries()) {
        came += requests;
        seconds += passed;
        sent += granted[i]!;
        const most = 0.2 * came + 10 * (10 + seconds) + 1;
        assert.ok(sent <= most, `${sent} of ${came} in ${seconds} s`);
      }
    }),
    { numRuns: 100 },
  );
  const steady = Array.from({ length: 100 }, () => [1000, 1, 190] as const);
  const all = (await chosen(probe, { budget: steady })).map(Number);
  assert.ok(
    all.every((each) => each === 190),
    "less than a fifth is never refused",
  );
  const storm = (await chosen(probe, { budget: steady.map(() => [1000, 1, 1000] as const) })).map(Number);
  assert.ok(
    storm.slice(50).every((each) => each <= 300),
    `${storm.slice(50)}`,
  );
});
