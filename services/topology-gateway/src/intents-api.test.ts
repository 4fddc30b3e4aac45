import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { MemoryServer, memoryBus } from "@sluice/bus/testing";
import {
  type ApiProblem,
  type ClusterRecord,
  clustersTable,
  type FleetValue,
  fleetKeys,
  fleetTable,
  intentsTable,
  type OrderAnswer,
  plainKeys,
  roles,
} from "@sluice/contracts";
import { createKit } from "@sluice/service-kit";
import { runTopologyGateway } from "./mod.ts";

/** A gateway, members that are heard of, and rows of a fleet as a renderer would write them. */
async function world(t: TestContext, members: Record<string, Partial<ClusterRecord>>) {
  const server = new MemoryServer();
  const controller = new AbortController();
  const kit = createKit({ service: "topology-gateway", signal: controller.signal });
  const bus = memoryBus({ role: "topology-gateway", signal: controller.signal, server, kit });
  const listening = Promise.withResolvers<string>();
  const options = { host: "127.0.0.1", port: 0, expectedRoles: roles, onListening: listening.resolve };
  const done = runTopologyGateway({ bus }, options, kit);
  t.after(async () => {
    controller.abort();
    await done;
  });
  const url = `http://${await listening.promise}`;
  const other = memoryBus({ role: "test", signal: controller.signal, server });
  const fleet = other.hold(fleetTable, { scope: "default", shard: "" }, { fresh: async () => {} });
  const intents = other.view(intentsTable);
  for (const [cluster, more] of Object.entries(members)) {
    const record = { heartbeatAt: Date.now(), api: { reachable: true, since: 0 }, labels: {}, waiting: [] };
    await other.publish(clustersTable, plainKeys.cluster(cluster), {
      cluster,
      exports: 1,
      watcher: "w",
      ...record,
      ...more,
    });
  }
  const ask = async (method: string, path: string, body?: object) => {
    const sent = body === undefined ? {} : { body: JSON.stringify(body) };
    const headers: Record<string, string> = body === undefined ? {} : { "content-type": "application/json" };
    const answer = await fetch(`${url}${path}`, { method, headers, ...sent });
    return { status: answer.status, body: (await answer.json()) as OrderAnswer & ApiProblem };
  };
  const rows = (given: Record<string, FleetValue>) => {
    for (const [key, row] of Object.entries(given)) fleet.set(key, row);
  };
  /** The gateway answers from tables that it has read so far. */
  const seen = (path: string, text: string) =>
    t.waitFor(async () => assert.ok((await (await fetch(`${url}${path}`)).text()).includes(text)), {
      timeout: 60_000,
    });
  await t.waitFor(async () => assert.equal((await fetch(`${url}/readyz`)).status, 200), { timeout: 60_000 });
  for (const cluster of Object.keys(members)) await seen("/api/v1/status", `"${cluster}"`);
  return { ask, rows, intents, seen, server, other };
}

const order = (verb: string, cluster: string, more: object = {}) => ({ verb, cluster, by: "ada", ...more });

/** Service `name` with an upstream, a route on `<name>.example.test`, and peers in these clusters. */
function served(name: string, clusters: Record<string, number>): Record<string, FleetValue> {
  const id = `shop-${name}`;
  const source = { kind: "MultiClusterIngress", namespace: "shop", name };
  const host = `${name}.example.test`;
  const found: Record<string, FleetValue> = {
    [fleetKeys.upstream("default", id)]: {
      id,
      namespace: "shop",
      service: name,
      port: "",
      balance: "round_robin",
    },
    [fleetKeys.route("default", host)]: {
      host,
      paths: [{ type: "Prefix", path: "/", upstream: id, profile: "p", source }],
    },
  };
  for (const [cluster, n] of Object.entries(clusters)) {
    const peers = Array.from({ length: n }, (_, i) => ({ address: `10.0.0.${i + 1}`, port: 80 }));
    found[fleetKeys.peers("default", id, cluster)] = { upstream: id, cluster, peers };
    found[fleetKeys.cluster("default", cluster)] = { cluster, state: "ok", allowed: [] };
  }
  return found;
}

test("a drain stands once it is answered, is listed, and is taken back", async (t) => {
  const { ask, rows, intents, seen } = await world(t, { member1: {}, member2: {} });
  rows(served("web", { member1: 1, member2: 1 }));
  await seen("/api/v1/fleet", "shop-web.member2");
  const given = await ask("POST", "/api/v1/intents", order("drain", "member1", { reason: "kernel update" }));
  assert.equal(given.status, 200);
  assert.equal(intents.get("drain.member1")?.reason, "kernel update");
  assert.equal(intents.get("drain.member1")?.by, "ada");
  await seen("/api/v1/intents", "kernel update");
  await seen("/api/v1/status", '"drained"');
  const back = await ask("DELETE", "/api/v1/intents/drain/member1?by=ada");
  assert.equal(back.body.intent?.reason, "kernel update");
  assert.equal(intents.get("drain.member1"), undefined);
  assert.deepEqual((await ask("DELETE", "/api/v1/intents/drain/member1")).body, { intent: null });
});

test("a drain of the last cluster of an import is refused with the imports and hosts, unless it is forced", async (t) => {
  const { ask, rows, intents, seen } = await world(t, { member1: {}, member2: {}, member3: {} });
  rows({
    ...served("web", { member1: 1, member2: 1 }),
    ...served("cart", { member1: 2, member2: 0 }),
    ...served("pay", { member1: 1, member3: 1 }),
  });
  await seen("/api/v1/fleet", "shop-pay.member3");
  const refused = await ask("POST", "/api/v1/intents", order("drain", "member1"));
  assert.equal(refused.status, 409);
  assert.equal(refused.body.code, "SLUICE_LAST_CLUSTER");
  assert.match(refused.body.message, /no other cluster serves shop\/cart \(cart\.example\.test\); --force/);
  assert.equal(intents.get("drain.member1"), undefined);
  const forced = await ask("POST", "/api/v1/intents", order("drain", "member1", { force: true }));
  assert.equal(forced.status, 200);
  assert.equal(intents.get("drain.member1")?.force, true);
});

test("a cluster that is drained, unjoined or down is nobody to fall back on", async (t) => {
  const { ask, rows, seen } = await world(t, { member1: {}, member2: {} });
  rows(served("web", { member1: 1, member2: 1 }));
  await seen("/api/v1/fleet", "shop-web.member2");
  assert.equal((await ask("POST", "/api/v1/intents", order("drain", "member2"))).status, 200);
  assert.equal((await ask("POST", "/api/v1/intents", order("drain", "member1"))).status, 409);
  assert.equal((await ask("POST", "/api/v1/intents", order("unjoin", "member1"))).status, 409);
  await ask("DELETE", "/api/v1/intents/drain/member2");
  rows({
    [fleetKeys.cluster("default", "member2")]: {
      cluster: "member2",
      state: "down",
      reason: "dead",
      allowed: [],
    },
  });
  await seen("/api/v1/status", '"down"');
  assert.equal((await ask("POST", "/api/v1/intents", order("drain", "member1"))).status, 409);
});

test("an order about a cluster that nobody has heard of names those that are there", async (t) => {
  const { ask } = await world(t, { member1: {}, member2: {} });
  for (const verb of ["drain", "unjoin", "accept-list"]) {
    const { status, body } = await ask("POST", "/api/v1/intents", order(verb, "membre1"));
    assert.deepEqual([status, body.code], [422, "SLUICE_ORDER_REFUSED"]);
    assert.match(body.message, /no cluster membre1; there are member1, member2/);
  }
  assert.equal((await ask("DELETE", "/api/v1/intents/drain/membre1")).status, 422);
});

test("only a list that is held can be let pass, and the order names that one", async (t) => {
  const held = { peers: 40, of: 60, since: 1_700_000_000_000.25, until: 1_700_000_030_000 };
  const { ask, intents } = await world(t, { member1: { held }, member2: {} });
  const { status, body } = await ask("POST", "/api/v1/intents", order("accept-list", "member2"));
  assert.deepEqual([status, body.message], [422, "no list of cluster member2 is held"]);
  assert.equal((await ask("POST", "/api/v1/intents", order("accept-list", "member1"))).status, 200);
  assert.equal(intents.get("accept-list.member1")?.held, held.since);
});

test("an order that does not fit its schema is refused, and nothing is written", async (t) => {
  const { ask, intents } = await world(t, { member1: {} });
  const bad = [
    { verb: "explode", cluster: "member1", by: "ada" },
    { verb: "drain", by: "ada" },
    { verb: "drain" },
    order("drain", "member1", { reason: "red \u001b[31m" }),
    order("drain", "member1", { reason: "two\nlines" }),
  ];
  for (const body of bad) assert.equal((await ask("POST", "/api/v1/intents", body)).status, 400);
  assert.equal((await ask("DELETE", "/api/v1/intents/explode/member1")).status, 400);
  assert.equal(intents.size, 0);
});

test("orders that the servers lost are written again, whoever had given them, and those taken back are not", async (t) => {
  const { ask, server, other, seen, rows } = await world(t, { member1: {}, member2: {}, member3: {} });
  rows(served("web", { member1: 1, member2: 1, member3: 1 }));
  await seen("/api/v1/fleet", "shop-web.member3");
  await other.publish(intentsTable, plainKeys.intent("drain", "member1"), {
    verb: "drain",
    cluster: "member1",
    at: 1,
    by: "an earlier gateway",
  });
  await seen("/api/v1/intents", "an earlier gateway");
  await ask("POST", "/api/v1/intents", order("drain", "member2"));
  await ask("POST", "/api/v1/intents", order("drain", "member3", { force: true }));
  await ask("DELETE", "/api/v1/intents/drain/member3");
  server.restart({ wipe: true });
  await t.waitFor(
    () => {
      assert.ok(server.get("intents", "drain.member1") !== null);
      assert.ok(server.get("intents", "drain.member2") !== null);
    },
    { timeout: 60_000 },
  );
  // That it was taken back is written again as well: another gateway may not have heard of it.
  const said = server.get("intents", "drain.member3");
  assert.match(Buffer.from(said?.value ?? "").toString(), /"deleted":true/);
});
