import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { createKit } from "@sluice/service-kit";
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
