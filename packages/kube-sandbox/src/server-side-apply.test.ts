import assert from "node:assert/strict";
import { test } from "node:test";
import { arrayAt, type JsonObject, objectAt, textAt } from "./json.ts";
import {
  CORE,
  DEFINITIONS,
  DEPLOYMENTS,
  deployment,
  GADGETS,
  gadget,
  gadgetDefinition,
  SLICES,
  service,
  slice,
  startTrial,
} from "./trial-cluster.ts";

test("apply makes what is not there, and the same again changes nothing", async (t) => {
  const { apply, cluster } = await startTrial(t);
  const made = await apply(`${SLICES}/echo-1`, "writer", slice("echo-1", "127.11.0.1"));
  assert.equal(made.code, 201);
  const before = cluster.store.version;
  const again = await apply(`${SLICES}/echo-1`, "writer", slice("echo-1", "127.11.0.1"));
  assert.equal(again.code, 200);
  assert.equal(cluster.store.version, before);
});

test("a field has one owner: another value is a conflict that names it, force takes it", async (t) => {
  const { apply, call } = await startTrial(t);
  await apply(`${DEPLOYMENTS}/echo`, "first", deployment("echo", 1));
  const refused = await apply(`${DEPLOYMENTS}/echo`, "second", deployment("echo", 2));
  assert.equal(refused.code, 409);
  assert.equal(refused.body.message, 'Apply failed with 1 conflict: conflict with "first": .spec.replicas');
  assert.deepEqual(objectAt(refused.body, "details").causes, [
    { reason: "FieldManagerConflict", message: 'conflict with "first"', field: ".spec.replicas" },
  ]);
  const taken = await apply(`${DEPLOYMENTS}/echo`, "second", deployment("echo", 2), true);
  assert.equal(objectAt(taken.body, "spec").replicas, 2);
  const back = await apply(`${DEPLOYMENTS}/echo`, "first", deployment("echo", 1));
  assert.match(textAt(back.body, "message"), /conflict with "second": \.spec\.replicas$/);
  const equal = await apply(`${DEPLOYMENTS}/echo`, "first", deployment("echo", 2));
  assert.equal(equal.code, 200, "the same value is owned together");
  const { managedFields } = objectAt((await call("GET", `${DEPLOYMENTS}/echo`)).body, "metadata");
  // They are in the order of their times, which have whole seconds: here either may come first.
  assert.deepEqual(
    (managedFields as JsonObject[]).map(({ manager, operation }) => [manager, operation]).toSorted(),
    [
      ["first", "Apply"],
      ["second", "Apply"],
    ],
  );
});

test("what a manager no longer applies goes, unless somebody else has it too", async (t) => {
  const { apply } = await startTrial(t);
  const config = (...ports: number[]) => ({
    ...service("echo"),
    spec: { ports: ports.map((port) => ({ name: `p${port}`, port })) },
  });
  await apply(`${CORE}/services/echo`, "first", config(80, 81, 82));
  await apply(`${CORE}/services/echo`, "second", config(81));
  const less = await apply(`${CORE}/services/echo`, "first", config(80));
  const ports = arrayAt(objectAt(less.body, "spec"), "ports").map((port) => textAt(port, "name"));
  assert.deepEqual(ports, ["p80", "p81"]);
});

test("an update takes the fields it changes, and the next apply of the old value meets it", async (t) => {
  const { apply, call } = await startTrial(t);
  await apply(`${SLICES}/echo-1`, "writer", slice("echo-1", "127.11.0.1"));
  const patch = { endpoints: [{ addresses: ["127.11.0.9"] }] };
  await call("PATCH", `${SLICES}/echo-1?fieldManager=hand`, patch, "application/merge-patch+json");
  const refused = await apply(`${SLICES}/echo-1`, "writer", slice("echo-1", "127.11.0.1"));
  assert.equal(refused.code, 409);
  assert.match(
    textAt(refused.body, "message"),
    /conflict with "hand" using discovery\.k8s\.io\/v1: \.endpoints$/,
  );
  const restored = await apply(`${SLICES}/echo-1`, "writer", slice("echo-1", "127.11.0.1"), true);
  assert.deepEqual(arrayAt(arrayAt(restored.body, "endpoints")[0], "addresses"), ["127.11.0.1"]);
});

test("status is applied beside the spec, each manager keeping its conditions by type", async (t) => {
  const { apply, call } = await startTrial(t);
  await call("POST", DEFINITIONS, gadgetDefinition);
  await call("POST", GADGETS, gadget("one", { size: "small" }));
  const { spec: _spec, ...bare } = gadget("one", {});
  const applied = await apply(`${GADGETS}/one/status`, "writer", { ...bare, status: { replicas: 3 } });
  assert.deepEqual(applied.body.status, { replicas: 3 });
  assert.deepEqual(applied.body.spec, { size: "small", color: "grey" });
  const managed = arrayAt(objectAt(applied.body, "metadata"), "managedFields");
  assert.deepEqual(
    managed.map((entry) => [textAt(entry, "manager"), textAt(entry, "subresource")]),
    [
      ["writer", "status"],
      ["trial", ""],
    ],
  );
});

test("lists of a custom resource merge by the keys that its schema names", async (t) => {
  const { apply, call } = await startTrial(t);
  await call("POST", DEFINITIONS, gadgetDefinition);
  const parts = (name: string, weight: number) => gadget("one", { size: "small", parts: [{ name, weight }] });
  await apply(`${GADGETS}/one`, "first", parts("a", 1));
  const both = await apply(`${GADGETS}/one`, "second", parts("b", 2));
  assert.deepEqual(objectAt(both.body, "spec").parts, [
    { name: "a", weight: 1 },
    { name: "b", weight: 2 },
  ]);
  const wrong = await apply(`${GADGETS}/one`, "second", gadget("one", { size: "small", sise: 1 }));
  assert.equal(wrong.code, 500);
  assert.match(textAt(wrong.body, "message"), /\.spec\.sise: field not declared in schema$/);
});

test("an apply without a field manager is refused", async (t) => {
  const { call } = await startTrial(t);
  const refused = await call(
    "PATCH",
    `${CORE}/services/echo`,
    service("echo"),
    "application/apply-patch+yaml",
  );
  assert.equal(refused.code, 422);
  assert.match(textAt(refused.body, "message"), /fieldManager: Required value: is required for apply patch$/);
});
