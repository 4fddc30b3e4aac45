import assert from "node:assert/strict";
import { createServer } from "node:net";
import { test } from "node:test";
import { MemoryServer, memoryBus } from "@sluice/bus/testing";
import {
  decode,
  FleetNow,
  fleetTable,
  membersTable,
  type PeersRow,
  PortTakenError,
  type ProxyRecord,
  plainKeys,
  proxiesTable,
  roles,
  Status,
  topologyKeys,
  topologyTable,
} from "@sluice/contracts";
import { createKit } from "@sluice/service-kit";
import { runTopologyGateway, type TopologyGatewayOptions } from "./mod.ts";

const options: TopologyGatewayOptions = { host: "127.0.0.1", port: 0, expectedRoles: roles };

async function start(t: { after(fn: () => Promise<void>): void }) {
  const server = new MemoryServer();
  const controller = new AbortController();
  const kit = createKit({ service: "topology-gateway", signal: controller.signal });
  const bus = memoryBus({ role: "topology-gateway", signal: controller.signal, server, kit });
  const listening = Promise.withResolvers<string>();
  const done = runTopologyGateway({ bus }, { ...options, onListening: listening.resolve }, kit);
  t.after(async () => {
    controller.abort();
    await done;
  });
  const url = `http://${await listening.promise}`;
  const writer = memoryBus({ role: "writer", signal: controller.signal, server });
  const get = async (path: string): Promise<unknown> => (await fetch(`${url}${path}`)).json();
  return { url, writer, get };
}

/** waitFor gives up after a second otherwise, which a busy machine may need. */
const patient = { timeout: 60_000 };

test("the status comes from the tables", async (t) => {
  const { get, writer } = await start(t);
  const web = topologyKeys.classify(topologyKeys.service("shop", "web"));
  assert.ok(web.kind === "record");
  const shard = topologyKeys.shardOf(web.spread, topologyKeys.defaultShards);
  const topology = writer.hold(topologyTable, { scope: "", shard }, { fresh: async () => {} });
  topology.set(topologyKeys.service("shop", "web"), {
    namespace: "shop",
    service: "web",
    type: "ClusterSetIP",
    ports: [{ name: "http", port: 80, protocol: "TCP" }],
    clusters: ["member1"],
    conflicts: [],
  });
  const fleet = writer.hold(fleetTable, { scope: "default", shard: "" }, { fresh: async () => {} });
  const row: PeersRow = { upstream: "shop-web-http", cluster: "member1", peers: [] };
  fleet.set("default.peers.shop-web-http.member1", row);
  const secret = { id: "shop-web-tls", namespace: "shop", name: "web", notAfter: 1 };
  fleet.set("default.secrets.shop-web-tls", { ...secret, sealed: { key: "k".repeat(43), box: "c2VhbGVk" } });
  const record: ProxyRecord = {
    fleet: "default",
    proxy: "a",
    at: Date.now(),
    revision: 0,
    source: "bus",
    nginx: { up: true, reloads: 0 },
    rows: { routes: 0, upstreams: 0, peers: 0, profiles: 0 },
    problems: [],
    ejected: [],
  };
  await writer.publish(proxiesTable, plainKeys.proxy("default", "a"), record);
  await t.waitFor(async () => {
    const status = decode(Status, await get("/api/v1/status"), "status");
    assert.equal(status.services[0]?.service, "web");
    assert.equal(status.proxies[0]?.state, "behind");
    assert.ok((status.proxies[0]?.lag ?? 0) > 0);
    assert.deepEqual(
      status.components.filter((c) => c.state === "ok").map((c) => c.role),
      ["writer", "topology-gateway"],
    );
  }, patient);
  assert.partialDeepStrictEqual(await get("/api/v1/topology?namespace=nowhere"), { rows: [] });
  assert.partialDeepStrictEqual(await get("/api/v1/topology?service=web"), {
    rows: [{ key: "shop.web._service", value: { clusters: ["member1"] } }],
  });
  assert.partialDeepStrictEqual(await get("/api/v1/fleet?fleet=default"), {
    fleets: [{ fleet: "default", rows: [{ key: "default.peers.shop-web-http.member1", value: row }] }],
  });
  // Of the kinds that are asked for alone; what is sealed is for proxies.
  const secrets = decode(FleetNow, await get("/api/v1/fleet?kinds=secrets,routes"), "fleet");
  assert.deepEqual(secrets.fleets[0]?.rows, [{ key: "default.secrets.shop-web-tls", value: secret }]);
});

test("it is ready once it has read the tables", async (t) => {
  const { url } = await start(t);
  await t.waitFor(async () => assert.equal((await fetch(`${url}/readyz`)).status, 200), patient);
  assert.equal((await fetch(`${url}/livez`)).status, 200);
});

test("what is not here is a 404 that says what is", async (t) => {
  const { url } = await start(t);
  const answer = await fetch(`${url}/api/v1/nothing`);
  assert.equal(answer.status, 404);
  assert.match(((await answer.json()) as { message: string }).message, /see \/api\/v1\/status/);
});

test("a port that is taken is an error that names the flag", async (t) => {
  const holder = createServer();
  await new Promise<void>((resolve) => holder.listen(0, "127.0.0.1", resolve));
  t.after(() => new Promise<void>((resolve) => holder.close(() => resolve())));
  const address = holder.address();
  assert.ok(address !== null && typeof address === "object");
  const controller = new AbortController();
  const kit = createKit({ service: "topology-gateway", signal: controller.signal });
  const bus = memoryBus({ role: "topology-gateway", signal: controller.signal, kit });
  await assert.rejects(
    runTopologyGateway({ bus }, { ...options, port: address.port }, kit),
    (error: unknown) => error instanceof PortTakenError && /--gateway-port/.test(error.message),
  );
  controller.abort();
});

test("a process whose clock is an hour off is told, by the time at which the server took its heartbeat", async (t) => {
  const { get, writer } = await start(t);
  for (const [process, ahead] of Object.entries({ late: -3_600_000, early: 3_600_000, good: 0 })) {
    const at = Date.now() + ahead;
    const record = { role: "member-watcher", process, pid: 1, startedAt: at, at };
    await writer.publish(membersTable, plainKeys.member("member-watcher", process), record);
  }
  await t.waitFor(async () => {
    const { findings } = decode(Status, await get("/api/v1/status"), "status");
    const told = findings.filter(({ about }) => about.startsWith("process"));
    // A heartbeat may have been on its way for a while.
    const hour = (text: string) => text.replace(/3[56]\d\d s/, "an hour");
    assert.deepEqual(told.map(({ about, message }) => `${about}: ${hour(message)}`).sort(), [
      "process member-watcher.early: its clock is an hour ahead of the bus server's",
      "process member-watcher.late: its clock is an hour behind the bus server's",
    ]);
  }, patient);
});
