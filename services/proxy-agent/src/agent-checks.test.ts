// From a row of the fleet to a peer that nobody asks: the agent's checks and a real nginx.
import assert from "node:assert/strict";
import { test } from "node:test";
import { MemoryServer } from "@sluice/bus/testing";
import { fleetKeys, type HealthCheck } from "@sluice/contracts";
import { testAgent, testFleet } from "./testing/agent-world.ts";
import { testNginx, testPod } from "./testing/proxy-world.ts";

const soon = { timeout: 60_000, interval: 20 };
const check: HealthCheck = {
  kind: "http",
  path: "/healthz",
  intervalMs: 100,
  // Long: a slow machine fails no check.
  timeoutMs: 20_000,
  misses: 2,
  passes: 2,
};
const upstream = { id: "web", namespace: "shop", service: "web", port: "", balance: "round_robin" as const };

test("peers of an import with a check are out while they miss it, also for an nginx that starts anew, and in without it", {
  timeout: 300_000,
}, async (t) => {
  const nginx = await testNginx(t);
  const server = new MemoryServer();
  const fleet = testFleet(t, server);
  const agent = testAgent(nginx, server);
  const sick = new Set<string>();
  const answer: Parameters<typeof testPod>[4] = (pod, { url }) =>
    url === "/healthz" && sick.has(pod.name) ? { status: 503 } : undefined;
  const a = await testPod(t, "127.25.11.1", "a", 0, answer);
  const b = await testPod(t, "127.26.11.1", "b", 0, answer);
  fleet.upstream("web", { member1: [a], member2: [b] });
  fleet.route("shop.example.test", "web");
  fleet.set(fleetKeys.upstream("default", "web"), { ...upstream, check });
  const answering = async () => {
    const seen = new Set<string>();
    for (let i = 0; i < 10; i++) seen.add((await nginx.get("/", { fresh: true })).body);
    return [...seen].sort();
  };
  const serve = (...names: string[]) =>
    t.waitFor(async () => assert.deepEqual(await answering(), names), soon);
  await serve("a", "b");

  sick.add("a");
  await serve("b");
  await t.waitFor(() => {
    const verdicts = agent.records.at(-1)?.clusters?.map(({ cluster, verdict }) => [cluster, verdict]);
    assert.deepEqual(verdicts?.toSorted(), [
      ["member1", "dead"],
      ["member2", "alive"],
    ]);
    // Of whom, where and by what, for people.
    const held = agent.records.at(-1)?.ejected.map(({ until: _, ...each }) => each);
    const peer = `${a.address}:${a.port}`;
    assert.deepEqual(held, [{ upstream: "web", cluster: "member1", peer, by: "checks" }]);
  }, soon);

  await nginx.restart("SIGKILL");
  await serve("b");

  sick.clear();
  await serve("a", "b");

  sick.add("a");
  await serve("b");
  fleet.set(fleetKeys.upstream("default", "web"), upstream);
  await serve("a", "b");
});
