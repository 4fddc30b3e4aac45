import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { createKit, type Random, systemRandom } from "@sluice/service-kit";
import { ManualClock } from "@sluice/service-kit/testing";
import { ActiveChecks, type CheckedPeer, type CheckVerdicts } from "./active-checks.ts";
import type { Probe } from "./probe.ts";

const check = { kind: "tcp", intervalMs: 50, timeoutMs: 1000, misses: 2, passes: 2 };
const peer = (address: string, more: Partial<CheckedPeer> = {}): CheckedPeer => ({
  upstream: "web",
  cluster: "member1",
  address,
  port: 80,
  check,
  ...more,
});
const soon = { timeout: 60_000, interval: 5 };

interface World {
  readonly checks: ActiveChecks;
  /** Addresses that miss their checks. */
  readonly dead: Set<string>;
  readonly asked: Map<string, number>;
  /** What nginx was told, newest last. */
  readonly told: CheckVerdicts[];
  /** nginx, as the agent knows it; null: it does not answer. */
  nginx: string | null;
  /** What happens to the next calls of nginx. */
  failing: boolean;
}

function world(t: TestContext): World {
  const controller = new AbortController();
  const kit = createKit({ service: "proxy-agent", signal: controller.signal });
  const dead = new Set<string>();
  const asked = new Map<string, number>();
  const told: CheckVerdicts[] = [];
  const probe: Probe = async (_check, { address }) => {
    asked.set(address, (asked.get(address) ?? 0) + 1);
    if (dead.has(address)) throw new Error("refused");
  };
  const at: World = {
    checks: new ActiveChecks(
      {
        probe,
        proxies: () => 1,
        tell: async (verdicts, expect) => {
          if (at.failing) throw new Error("nginx does not answer");
          if (expect !== at.nginx) return false;
          told.push(verdicts);
          return true;
        },
      },
      kit,
      () => at.nginx,
    ),
    dead,
    asked,
    told,
    nginx: "one",
    failing: false,
  };
  const running = at.checks.run();
  t.after(async () => {
    controller.abort(new Error("stopping"));
    await running;
  });
  return at;
}

// Who is out is said again every ten seconds: each name counts once.
const namesOf = (told: readonly CheckVerdicts[], key: "out" | "back") =>
  [...new Set(told.flatMap((each) => each[key].map(([, , name]) => name)))].sort();
const outs = ({ told }: World) => namesOf(told, "out");
const backs = ({ told }: World) => namesOf(told, "back");

test("nginx is told who misses and who passes again, by its own name for him", async (t) => {
  const at = world(t);
  at.dead.add("10.0.0.1").add("2001:db8::1");
  at.checks.want([peer("10.0.0.1"), peer("10.0.0.2"), peer("2001:db8::1")]);
  await t.waitFor(() => assert.deepEqual(outs(at), ["10.0.0.1:80", "[2001:db8::1]:80"]), soon);
  assert.deepEqual(backs(at), []);
  at.dead.clear();
  await t.waitFor(() => assert.deepEqual(backs(at), ["10.0.0.1:80", "[2001:db8::1]:80"]), soon);
});

test("what nginx could not be told is told when it answers, and another nginx is told all that holds", async (t) => {
  const at = world(t);
  at.failing = true;
  at.dead.add("10.0.0.1");
  at.checks.want([peer("10.0.0.1"), peer("10.0.0.2")]);
  await t.waitFor(() => assert.ok((at.asked.get("10.0.0.1") ?? 0) > 3), soon);
  assert.deepEqual(at.told, []);
  at.failing = false;
  await t.waitFor(() => assert.deepEqual(outs(at), ["10.0.0.1:80"]), soon);
  at.told.length = 0;
  at.nginx = "two";
  at.checks.notify();
  await t.waitFor(() => assert.deepEqual(outs(at), ["10.0.0.1:80"]), soon);
});

test("a peer that is no longer to be checked is asked no more, and is not left out", async (t) => {
  const at = world(t);
  at.dead.add("10.0.0.1");
  at.checks.want([peer("10.0.0.1"), peer("10.0.0.2")]);
  await t.waitFor(() => assert.deepEqual(outs(at), ["10.0.0.1:80"]), soon);
  at.checks.want([peer("10.0.0.2")]);
  await t.waitFor(() => assert.deepEqual(backs(at), ["10.0.0.1:80"]), soon);
  const before = at.asked.get("10.0.0.1");
  const others = at.asked.get("10.0.0.2") ?? 0;
  await t.waitFor(() => assert.ok((at.asked.get("10.0.0.2") ?? 0) > others + 3), soon);
  assert.equal(at.asked.get("10.0.0.1"), before);
});

test("a check that is over late because this process did not run says nothing of the peer", async (t) => {
  const controller = new AbortController();
  const told: CheckVerdicts[] = [];
  let asked = 0;
  const kit = createKit({ service: "proxy-agent", signal: controller.signal });
  const silent: Probe = (_check, _peer, signal) => {
    asked += 1;
    // Whatever else this process does: no check ends in time.
    const until = performance.now() + 100;
    while (performance.now() < until);
    return new Promise((_, reject) => signal.addEventListener("abort", () => reject(new Error("late"))));
  };
  const tell = async (verdicts: CheckVerdicts) => {
    told.push(verdicts);
    return true;
  };
  const checks = new ActiveChecks({ probe: silent, proxies: () => 1, tell }, kit, () => "one");
  const running = checks.run();
  checks.want([peer("10.0.0.1", { check: { ...check, timeoutMs: 50 } })]);
  await t.waitFor(() => assert.ok(asked >= 5), soon);
  controller.abort(new Error("stopping"));
  await running;
  assert.deepEqual(told, []);
});

/** Park and Miller's: the same run each time. */
function numbers(seed: number): Random {
  let state = seed;
  return {
    ...systemRandom,
    next() {
      state = (state * 48_271) % 2_147_483_647;
      return state / 2_147_483_647;
    },
  };
}

/** A fleet whose proxies all ask one peer once a second. */
function fleet(t: TestContext, proxies: number) {
  const controller = new AbortController();
  const clock = new ManualClock();
  const world = { clock, began: clock.now(), asked: [] as number[], passes: true, out: new Set<number>() };
  const probe: Probe = async () => {
    world.asked.push(clock.now() - world.began);
    if (!world.passes) throw new Error("refused");
  };
  const running = Array.from({ length: proxies }, (_, n) => {
    const random = numbers(20_000_003 * (n + 1));
    const tell = async ({ out }: CheckVerdicts) => {
      if (out.length > 0) world.out.add(n);
      return true;
    };
    const kit = createKit({ service: "proxy-agent", signal: controller.signal, clock, random });
    const checks = new ActiveChecks({ probe, proxies: () => proxies, tell }, kit, () => "one");
    checks.want([peer("10.0.0.1", { check: { ...check, intervalMs: 1000 } })]);
    return checks.run();
  });
  t.after(async () => {
    controller.abort(new Error("stopping"));
    await Promise.all(running);
  });
  return world;
}

const within = (moments: readonly number[], from: number, to: number) =>
  moments.filter((moment) => moment >= from && moment < to).length;

test("a hundred proxies ask a peer no more often than ten would", async (t) => {
  const { clock, asked } = fleet(t, 100);
  await clock.pass(61_000);
  // Each begins with one check, at any moment of the first second.
  const first = within(asked, 0, 1000);
  assert.ok(first >= 100 && first <= 110, `${first} checks in the first second`);
  const steady = within(asked, 1000, 61_000);
  assert.ok(steady >= 500 && steady <= 60 * 10 * 1.2, `${steady} checks a minute`);
});

test("proxies that begin together do not ask in step", async (t) => {
  const { clock, asked } = fleet(t, 10);
  await clock.pass(120_000);
  for (const from of [0, 60_000]) {
    const tenths = Array.from({ length: 600 }, (_, n) => within(asked, from + n * 100, from + (n + 1) * 100));
    assert.ok(Math.max(...tenths) <= 7, `${Math.max(...tenths)} of ten in a tenth of a second`);
  }
  // Of one proxy alone: its checks keep no place in the second.
  const { clock: own, asked: alone } = fleet(t, 1);
  await own.pass(200_000);
  const places = new Set(alone.map((moment) => Math.floor((moment % 1000) / 100)));
  assert.equal(places.size, 10, [...places].join());
});

test("a hundred proxies that doubt a peer ask it a few times more, once", async (t) => {
  const world = fleet(t, 100);
  await world.clock.pass(60_000);
  world.passes = false;
  await world.clock.pass(60_000);
  assert.equal(world.out.size, 100);
  const doubting = within(world.asked, 60_000, 120_000);
  assert.ok(doubting <= 60 * 10 * 1.2 + 100 * check.misses, `${doubting} checks in that minute`);
});
