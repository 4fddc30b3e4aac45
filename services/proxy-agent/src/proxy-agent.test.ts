import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { type TestContext, test } from "node:test";
import { MemoryServer } from "@sluice/bus/testing";
import { fleetKeys, newTrace, type ProfileRow } from "@sluice/contracts";
import { defaultProfile } from "@sluice/ingress";
import { type Clock, systemClock } from "@sluice/service-kit";
import { confPathOf } from "./prepare-nginx.ts";
import { type TestAgent, testAgent, testFleet } from "./testing/agent-world.ts";
import { type TestNginx, type TestPod, testNginx, testPod } from "./testing/proxy-world.ts";

const soon = { timeout: 20_000, interval: 10 };

async function serves(t: TestContext, nginx: TestNginx, ...expected: readonly (string | number)[]) {
  await t.waitFor(async () => {
    const seen = new Set<string | number>();
    for (let i = 0; i < 6; i++) {
      const { status, body } = await nginx.get("/", { fresh: true });
      seen.add(status === 200 ? body : status);
    }
    assert.deepEqual([...seen].sort(), [...expected].sort());
  }, soon);
}

const ready = (t: TestContext, agent: TestAgent) =>
  t.waitFor(() => assert.deepEqual([...agent.kit.health.waiting], []), soon);

/** A profile row under a name of its own. */
function profile(hash: string, settings: ProfileRow["settings"]): ProfileRow {
  return { hash, settings };
}

async function twoPods(t: TestContext, n: number): Promise<[TestPod, TestPod]> {
  return [await testPod(t, `127.25.${n}.1`, "one"), await testPod(t, `127.26.${n}.1`, "two")];
}

test("what the fleet says is served, follows each change, and ends with it", async (t) => {
  const nginx = await testNginx(t);
  const server = new MemoryServer();
  const fleet = testFleet(t, server);
  const [one, two] = await twoPods(t, 0);
  const agent = testAgent(nginx, server);
  fleet.upstream("web", { member1: [one] });
  fleet.route("shop.example.test", "web");
  await serves(t, nginx, "one");
  await ready(t, agent);
  fleet.upstream("web", { member2: [two] });
  await serves(t, nginx, "one", "two");
  fleet.remove(fleetKeys.peers("default", "web", "member1"));
  await serves(t, nginx, "two");
  fleet.remove(fleetKeys.route("default", "shop.example.test"));
  await serves(t, nginx, 404);
  await t.waitFor(() => {
    const last = agent.records.at(-1);
    assert.deepEqual(last?.rows, { routes: 0, upstreams: 1, peers: 1, profiles: 0 });
    assert.equal(last?.source, "bus");
    assert.ok(last?.nginx.up);
    assert.ok(last.revision > 0);
  }, soon);
});

test("a route waits for its upstream while the old one serves on", async (t) => {
  const nginx = await testNginx(t);
  const server = new MemoryServer();
  const fleet = testFleet(t, server);
  const [one, two] = await twoPods(t, 1);
  const agent = testAgent(nginx, server);
  fleet.upstream("web", { member1: [one] });
  fleet.route("shop.example.test", "web");
  await serves(t, nginx, "one");
  fleet.route("shop.example.test", "web2");
  await t.waitFor(
    () => assert.match(JSON.stringify(agent.records.at(-1)?.problems), /waits for upstream web2/),
    soon,
  );
  await serves(t, nginx, "one");
  fleet.upstream("web2", { member2: [two] });
  await serves(t, nginx, "two");
});

test("a peer outside what its cluster may have is left out, counted and reported", async (t) => {
  const nginx = await testNginx(t);
  const server = new MemoryServer();
  const fleet = testFleet(t, server);
  const [one] = await twoPods(t, 2);
  const outside = await testPod(t, "127.26.2.7", "outside");
  const hub = await testPod(t, "127.25.9.9", "hub");
  const agent = testAgent(nginx, server);
  fleet.upstream("web", { member1: [one, outside, hub] });
  fleet.route("shop.example.test", "web");
  await serves(t, nginx, "one");
  await t.waitFor(
    () => assert.match(JSON.stringify(agent.records.at(-1)?.problems), /2 of 3 peers left out/),
    soon,
  );
  for (let i = 0; i < 10; i++) await nginx.get("/", { fresh: true });
  assert.equal(outside.requests + hub.requests, 0);
});

test("with the bus away, nginx and the agent serve the same after either or both were restarted", async (t) => {
  const nginx = await testNginx(t);
  const server = new MemoryServer();
  const fleet = testFleet(t, server);
  const [one, two] = await twoPods(t, 3);
  const first = testAgent(nginx, server);
  fleet.upstream("web", { member1: [one], member2: [two] });
  fleet.route("shop.example.test", "web");
  await serves(t, nginx, "one", "two");
  await ready(t, first);
  await first.stop();

  await nginx.restart("SIGKILL");
  await serves(t, nginx, "one", "two");

  const second = testAgent(nginx, null);
  await ready(t, second);
  await serves(t, nginx, "one", "two");
  assert.equal(second.records.at(-1)?.source, "last-good");

  await nginx.restart("SIGKILL");
  await serves(t, nginx, "one", "two");
  await second.stop();

  // And once the bus is back, what was removed meanwhile goes.
  fleet.remove(fleetKeys.peers("default", "web", "member1"));
  await fleet.idle();
  testAgent(nginx, server);
  await serves(t, nginx, "two");
});

test("an nginx that was restarted without a copy gets all rows from the agent", async (t) => {
  const nginx = await testNginx(t);
  const server = new MemoryServer();
  const fleet = testFleet(t, server);
  const [one] = await twoPods(t, 4);
  testAgent(nginx, server);
  fleet.upstream("web", { member1: [one] });
  fleet.route("shop.example.test", "web");
  await serves(t, nginx, "one");
  await nginx.process.stop("SIGKILL");
  const { rm } = await import("node:fs/promises");
  await rm(`${nginx.options.dir}/last-good.jsonl`, { force: true });
  await nginx.restart("SIGTERM");
  await serves(t, nginx, "one");
});

test("rows that an nginx has from before go only once the fleet is settled", async (t) => {
  const nginx = await testNginx(t);
  const [one] = await twoPods(t, 5);
  await nginx.apply(
    { k: "peers", upstream: "old", cluster: "member1", peers: [[one.address, one.port, 1]] },
    { k: "route", host: "shop.example.test", paths: [["P", "/", "old", "default"]] },
  );
  const alone = testAgent(nginx, null);
  await t.waitFor(() => assert.ok(alone.records.at(-1)?.nginx.up), soon);
  await serves(t, nginx, "one");
  await alone.stop();
  const server = new MemoryServer();
  const fleet = testFleet(t, server);
  fleet.route("other.example.test", null);
  testAgent(nginx, server);
  await serves(t, nginx, 404);
  assert.equal((await nginx.get("/", { host: "other.example.test" })).status, 503);
});

test("only another profile reloads nginx, and one that will not do is taken back", async (t) => {
  const nginx = await testNginx(t);
  const server = new MemoryServer();
  const fleet = testFleet(t, server);
  const [one] = await twoPods(t, 6);
  const agent = testAgent(nginx, server);
  const reloads = () => agent.records.at(-1)?.nginx.reloads;
  fleet.set(fleetKeys.profile("default", defaultProfile.hash), defaultProfile);
  fleet.upstream("web", { member1: [one] });
  fleet.route("shop.example.test", "web", defaultProfile.hash);
  await serves(t, nginx, "one");
  await ready(t, agent);
  assert.equal(reloads(), 0);

  const small = profile("small", { maxBodyBytes: 10 });
  fleet.set(fleetKeys.profile("default", small.hash), small);
  fleet.route("shop.example.test", "web", small.hash);
  await t.waitFor(async () => {
    const { status } = await nginx.get("/", { method: "POST", body: "more than ten bytes" });
    assert.equal(status, 413);
  }, soon);
  await serves(t, nginx, "one");
  assert.match(await readFile(confPathOf(nginx.options.dir), "utf8"), new RegExp(`@profile_${small.hash}`));
  await t.waitFor(() => assert.equal(reloads(), 1), soon);

  const unknown = profile("unknown", { snippet: "deny all;" });
  fleet.set(fleetKeys.profile("default", unknown.hash), unknown);
  await t.waitFor(
    () => assert.match(JSON.stringify(agent.records.at(-1)?.problems), /setting snippet is unknown/),
    soon,
  );
  // After a restart of nginx alone the profile that was good is still there.
  await nginx.restart("SIGTERM");
  await t.waitFor(async () => {
    const { status } = await nginx.get("/", { method: "POST", body: "more than ten bytes", fresh: true });
    assert.equal(status, 413);
  }, soon);
});

/** The system's clock, whose sleeps end no more once it is stopped; `asleep`: how long those wanted to, ms. */
function stoppableClock(): { readonly clock: Clock; readonly asleep: number[]; stop(): void } {
  let stopped = false;
  const asleep: number[] = [];
  const never = (signal: AbortSignal) =>
    new Promise<void>((_, reject) => signal.addEventListener("abort", () => reject(signal.reason as Error)));
  return {
    clock: {
      ...systemClock,
      sleep: (ms, signal) => {
        if (!stopped) return systemClock.sleep(ms, signal);
        asleep.push(ms);
        return never(signal);
      },
    },
    asleep,
    stop: () => {
      stopped = true;
    },
  };
}

for (const injectDelayMs of [0, 7]) {
  const planted = injectDelayMs > 0;
  test(`no timer stands between a change and nginx, and its trace ends there${planted ? ": a planted one is found" : ""}`, async (t) => {
    const nginx = await testNginx(t);
    const server = new MemoryServer();
    const fleet = testFleet(t, server);
    const [one] = await twoPods(t, 7);
    const { clock, asleep, stop } = stoppableClock();
    const agent = testAgent(nginx, server, undefined, { clock, injectDelayMs });
    fleet.upstream("web", { member1: [one] });
    fleet.route("shop.example.test", "web");
    await serves(t, nginx, "one");
    await ready(t, agent);
    stop();
    const applied = async () => {
      const { values } = await agent.kit.metrics.stage.get();
      const counts = values.filter((v) => v.metricName?.endsWith("_count"));
      return counts.find(({ labels }) => labels.stage === "applied")?.value ?? 0;
    };
    const change = async (port: number) => {
      const before = await applied();
      const peers = [
        { address: one.address, port: one.port },
        { address: "127.25.7.200", port },
      ];
      const key = fleetKeys.peers("default", "web", "member1");
      fleet.set(key, { upstream: "web", cluster: "member1", peers }, newTrace(clock.now()));
      return before;
    };
    if (planted) {
      const before = await change(1000);
      await t.waitFor(() => assert.ok(asleep.includes(injectDelayMs)), soon);
      assert.equal(await applied(), before);
      return;
    }
    for (let i = 0; i < 50; i++) {
      const before = await change(1000 + i);
      await t.waitFor(async () => assert.ok((await applied()) > before), { ...soon, interval: 1 });
    }
    const { values } = await agent.kit.metrics.histogram("sluice_proxy_apply_duration_seconds", "", []).get();
    const value = (name: string) => values.find((v) => v.metricName?.endsWith(name))?.value ?? 0;
    t.diagnostic(
      `${((value("_sum") / value("_count")) * 1000).toFixed(2)} ms for nginx to take a row, on average`,
    );
  });
}

test("a cluster is told dead while none of its peers answers, and alive once one does", {
  timeout: 120_000,
}, async (t) => {
  const nginx = await testNginx(t);
  const server = new MemoryServer();
  const fleet = testFleet(t, server);
  const [one, two] = await twoPods(t, 9);
  const agent = testAgent(nginx, server);
  fleet.upstream("web", { member1: [one], member2: [two] });
  fleet.route("shop.example.test", "web");
  await serves(t, nginx, "one", "two");
  const verdicts = () =>
    Object.fromEntries((agent.records.at(-1)?.clusters ?? []).map((each) => [each.cluster, each.verdict]));
  await t.waitFor(() => assert.deepEqual(verdicts(), { member1: "alive", member2: "alive" }), soon);
  await one.close();
  await serves(t, nginx, "two");
  await t.waitFor(
    async () => {
      // A hold ends by itself after a while; without requests nobody would find out again.
      await nginx.get("/", { fresh: true });
      assert.deepEqual(verdicts(), { member1: "dead", member2: "alive" });
    },
    { timeout: 40_000, interval: 50 },
  );
  await testPod(t, one.address, "back", one.port);
  // Its hold ends by time, but only an answer is an answer: requests have to come.
  await t.waitFor(
    async () => {
      await nginx.get("/", { fresh: true });
      assert.deepEqual(verdicts(), { member1: "alive", member2: "alive" });
    },
    { timeout: 40_000, interval: 50 },
  );
});
