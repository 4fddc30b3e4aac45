// From a row of the fleet to a peer that nobody asks: the agent's checks and a real nginx.
import assert from "node:assert/strict";
import { test } from "node:test";
import { MemoryServer } from "@sluice/bus/testing";
import { fleetKeys, type HealthCheck } from "@sluice/contracts";
import { testAgent, testFleet } from "./testing/agent-world.ts";
import { httpsBackend } from "./testing/backend-world.ts";
import { testAuthority, testCertificate } from "./testing/certificates.ts";
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

test("peers that are spoken to by TLS are asked so: who cannot prove what requests want proved is out", {
  timeout: 300_000,
}, async (t) => {
  const nginx = await testNginx(t);
  const server = new MemoryServer();
  const fleet = testFleet(t, server);
  testAgent(nginx, server);
  const name = "inside.example.test";
  const [ours, theirs] = await Promise.all(["ours", "theirs"].map((each) => testAuthority(each)));
  assert.ok(ours !== undefined && theirs !== undefined);
  const right = await httpsBackend(t, "127.25.12.1", { certificate: await testCertificate(ours, [name]) });
  const strange = await httpsBackend(t, "127.26.12.1", {
    certificate: await testCertificate(theirs, [name]),
  });
  const identity = { tlsVerify: true, tlsName: name, tlsServerName: true, tlsAuthorities: "backend" };
  const hash = "checked";
  fleet.set(fleetKeys.profile("default", hash), { hash, settings: { protocol: "https", ...identity } });
  const authority = (authorities: string) =>
    fleet.set(fleetKeys.secret("default", "backend"), {
      id: "backend",
      namespace: "shop",
      name: "backend",
      authorities,
    });
  authority(ours.certificate);
  fleet.upstream("web", { member1: [right], member2: [strange] });
  fleet.set(fleetKeys.upstream("default", "web"), { ...upstream, check: { ...check, kind: "https" } });
  const source = { kind: "MultiClusterIngress", namespace: "shop", name: "web" };
  fleet.set(fleetKeys.route("default", "shop.example.test"), {
    host: "shop.example.test",
    paths: [{ type: "Prefix", path: "/", upstream: "web", profile: hash, source }],
  });
  const out = async () => {
    const { held = [] } = await nginx.client.state(t.signal);
    return held.flatMap(({ peer, checks }) => (checks === true && peer !== undefined ? [peer] : []));
  };
  await t.waitFor(async () => assert.deepEqual(await out(), [`${strange.address}:${strange.port}`]), soon);
  assert.equal(right.seen.at(-1)?.path, "/healthz");
  assert.deepEqual(strange.seen, []);
  // Whom others trust is asked anew.
  authority(theirs.certificate);
  await t.waitFor(async () => assert.deepEqual(await out(), [`${right.address}:${right.port}`]), soon);
});
