import assert from "node:assert/strict";
import { test } from "node:test";
import { plainKeys, type SliceRecord, sliceKeys, verdictsTable } from "@sluice/contracts";
import { resources, type ServiceExport } from "@sluice/kube";
import { eventually } from "./clusters.ts";
import { Stage } from "./stage.ts";

const exportKey = sliceKeys.export("member1", "shop", "cart");
const sliceKey = sliceKeys.slice("member1", "shop", "cart", "cart-1");
const timeout = 240_000;

function published(stage: Stage): string[] {
  return [...stage.slices.entries()].map(([key]) => key).sort();
}

async function seesExactly(stage: Stage, keys: readonly string[]): Promise<void> {
  const want = JSON.stringify([...keys].sort());
  await eventually(`published: ${want}`, async () => JSON.stringify(published(stage)) === want);
}

const settled = (stage: Stage) => eventually("settled", async () => stage.slices.isScopeSettled("member1"));

function addresses(stage: Stage): string[] {
  const record = stage.slices.get(sliceKey) as SliceRecord | undefined;
  return record?.endpoints.flatMap((endpoint) => endpoint.addresses) ?? [];
}

test("only what is exported is published, and one slice that changes is one record", {
  timeout,
}, async () => {
  await using stage = await Stage.start(["member1"]);
  await stage.exportCart("member1");
  await stage.service("member1", "till");
  await stage.endpoints("member1", ["10.1.0.9"], "till-1", "till");
  await stage.endpoints("member1", ["10.1.0.8"], "cart-2");
  stage.watcher("member1");
  const other = sliceKeys.slice("member1", "shop", "cart", "cart-2");
  await seesExactly(stage, [exportKey, sliceKey, other]);
  await settled(stage);
  const before = stage.server.lastRevision("slices", ">");
  await stage.endpoints("member1", ["10.1.0.9"], "till-2", "till");
  await stage.endpoints("member1", ["10.1.0.1", "10.1.0.2"]);
  await eventually("both peers", async () => addresses(stage).length === 2);
  assert.equal(stage.server.lastRevision("slices", ">"), before + 1);
});

test("a definition that comes late is waited for and said so, and may go and come again", {
  timeout,
}, async () => {
  await using stage = await Stage.start(["member1"], { crds: false });
  await stage.node("member1", 1);
  await stage.service("member1");
  await stage.endpoints("member1", ["10.1.0.1"]);
  stage.watcher("member1");
  const waiting = () => stage.clusters.get("member1")?.waiting ?? [];
  await eventually("says what it waits for", async () =>
    waiting().includes("ServiceExport is not served yet"),
  );
  await settled(stage);
  await stage.crd("member1", "serviceexports");
  await stage.export("member1");
  await seesExactly(stage, [exportKey, sliceKey]);
  await eventually("waits no more", async () => waiting().length === 0);
  const definition = { name: "serviceexports.multicluster.x-k8s.io" };
  await stage.client("member1").delete(resources.customResourceDefinition, definition, {}, stage.signal);
  await eventually("waits again", async () => waiting().length > 0);
  await stage.crd("member1", "serviceexports");
  await stage.export("member1");
  await seesExactly(stage, [exportKey, sliceKey]);
  await eventually("waits no more", async () => waiting().length === 0);
});

test("a watcher that is pointed at an API without that definition removes nothing", { timeout }, async () => {
  await using stage = await Stage.start(["member1"]);
  await stage.exportCart("member1");
  const stop = stage.watcher("member1");
  await seesExactly(stage, [exportKey, sliceKey]);
  await settled(stage);
  await stop();
  await using other = await Stage.start(["member1"], { crds: false });
  stage.watcher("member1", other.client("member1"));
  const waits = async () =>
    stage.clusters.get("member1")?.waiting.includes("ServiceExport is not served yet");
  await eventually("says what it waits for", waits);
  await eventually("a claim of its own", async () => stage.slices.isScopeSettled("member1") === false);
  await other.service("member1");
  await eventually(
    "it has seen what else there is",
    async () => stage.clusters.get("member1")?.api.reachable,
  );
  assert.deepEqual(published(stage), [exportKey, sliceKey].sort());
  await other.crd("member1", "serviceexports");
  await seesExactly(stage, []);
});

test("an export whose Service goes is withdrawn with a reason, and comes back with it", {
  timeout,
}, async () => {
  await using stage = await Stage.start(["member1"]);
  await stage.exportCart("member1");
  stage.watcher("member1");
  await seesExactly(stage, [exportKey, sliceKey]);
  await eventually("valid", async () => (await stage.conditions("member1"))["Valid"] === "True Valid");
  const cart = { namespace: "shop", name: "cart" };
  await stage.client("member1").delete(resources.service, cart, {}, stage.signal);
  await seesExactly(stage, []);
  await eventually(
    "says why",
    async () => (await stage.conditions("member1"))["Ready"] === "False NoService",
  );
  await stage.service("member1");
  await stage.endpoints("member1", ["10.1.0.1"]);
  await seesExactly(stage, [exportKey, sliceKey]);
  await eventually("valid again", async () => (await stage.conditions("member1"))["Valid"] === "True Valid");
});

test("unexported and exported again at once, it is published as before", { timeout }, async () => {
  await using stage = await Stage.start(["member1"]);
  await stage.exportCart("member1");
  stage.watcher("member1");
  await seesExactly(stage, [exportKey, sliceKey]);
  await settled(stage);
  for (let round = 0; round < 5; round++) {
    const before = stage.server.get("slices", exportKey)?.revision;
    await stage.unexport("member1");
    await stage.export("member1");
    await eventually("written again", async () => stage.server.get("slices", exportKey)?.revision !== before);
    await seesExactly(stage, [exportKey, sliceKey]);
  }
});

test("verdicts become conditions whose transitions keep their time, are taken back, and are written once", {
  timeout,
}, async () => {
  await using stage = await Stage.start(["member1"]);
  await stage.exportCart("member1");
  stage.watcher("member1");
  const cart = { namespace: "shop", name: "cart" };
  const read = async () => {
    const found = await stage
      .client("member1")
      .get<ServiceExport>(resources.serviceExport, cart, stage.signal);
    assert.ok(found);
    const times = (found.status?.conditions ?? []).map((c) => [c.type, c.lastTransitionTime]);
    return { version: found.metadata.resourceVersion, times: Object.fromEntries(times) };
  };
  await eventually("valid", async () => (await stage.conditions("member1"))["Valid"] === "True Valid");
  const first = await read();
  const verdicts = stage.bus.writer(verdictsTable);
  const identity = { cluster: "member1", namespace: "shop", service: "cart" };
  const key = plainKeys.verdict("member1", "shop", "cart");
  const conflict = { type: "Conflict", status: "True", reason: "OldestExportWins", message: "m" } as const;
  verdicts.set(key, { ...identity, conditions: [conflict] });
  await eventually(
    "conflict",
    async () => (await stage.conditions("member1"))["Conflict"] === "True OldestExportWins",
  );
  assert.equal((await read()).times["Valid"], first.times["Valid"]);
  verdicts.remove(key);
  await eventually(
    "no conflict",
    async () => (await stage.conditions("member1"))["Conflict"] === "False NoConflicts",
  );
  const { version } = await read();
  // Its own write has come back as an event by the time that something later has been published.
  await stage.endpoints("member1", ["10.1.0.7"]);
  await eventually("the later change", async () => addresses(stage)[0] === "10.1.0.7");
  assert.equal((await read()).version, version);
});

test("a watcher that starts again over an API that hangs leaves CIDRs, slices and conditions as they are", {
  timeout,
}, async () => {
  await using stage = await Stage.start(["member1"]);
  await stage.exportCart("member1");
  const stop = stage.watcher("member1");
  await seesExactly(stage, [exportKey, sliceKey]);
  await eventually("CIDRs", async () => stage.clusters.get("member1")?.nodeCidrs?.join() === "10.1.0.0/16");
  await stop();
  await stage.cluster("member1").setFault({ api: "hang" });
  stage.watcher("member1");
  await eventually("unreachable", async () => stage.clusters.get("member1")?.api.reachable === false);
  assert.deepEqual(stage.clusters.get("member1")?.nodeCidrs, ["10.1.0.0/16"]);
  assert.match(stage.clusters.get("member1")?.api.error ?? "", /no answer within 2 s/);
  assert.deepEqual(published(stage), [exportKey, sliceKey].sort());
  await stage.cluster("member1").setFault({ api: "none" });
  await eventually("reachable", async () => stage.clusters.get("member1")?.api.reachable === true);
});

test("a bus that begins another life and lost all is filled again, and what went meanwhile stays gone", {
  timeout,
}, async () => {
  await using stage = await Stage.start(["member1"]);
  await stage.exportCart("member1");
  await stage.service("member1", "till");
  await stage.export("member1", "till");
  stage.watcher("member1");
  const till = sliceKeys.export("member1", "shop", "till");
  await seesExactly(stage, [exportKey, sliceKey, till]);
  await settled(stage);
  stage.server.severed = true;
  await stage.unexport("member1", "till");
  await stage.endpoints("member1", ["10.1.0.5"]);
  stage.server.restart({ wipe: true });
  stage.server.severed = false;
  await seesExactly(stage, [exportKey, sliceKey]);
  await eventually("the newest", async () => addresses(stage)[0] === "10.1.0.5");
  await settled(stage);
});

test("an export that goes while the bus is away is withdrawn when it is back", { timeout }, async () => {
  await using stage = await Stage.start(["member1"]);
  await stage.exportCart("member1");
  stage.watcher("member1");
  await seesExactly(stage, [exportKey, sliceKey]);
  await settled(stage);
  stage.server.severed = true;
  await stage.unexport("member1");
  await eventually(
    "gone in the member",
    async () => Object.keys(await stage.conditions("member1")).length === 0,
  );
  assert.deepEqual(published(stage), [exportKey, sliceKey].sort());
  stage.server.severed = false;
  await seesExactly(stage, []);
});

test("peers of a member whose Nodes the API does not tell are of no known range, and its record says so", {
  timeout,
}, async () => {
  await using stage = await Stage.start(["member1"]);
  await stage.service("member1");
  stage.watcher("member1");
  await eventually(
    "listed: there is no Node",
    async () => stage.clusters.get("member1")?.nodeCidrs?.length === 0,
  );
});
