import assert from "node:assert/strict";
import { test } from "node:test";
import { arrayAt, objectAt, textAt } from "./json.ts";
import { DEFINITIONS, GADGETS, gadget, gadgetDefinition, startTrial } from "./trial-cluster.ts";

test("a definition makes a resource appear and says so in its conditions", async (t) => {
  const { call } = await startTrial(t);
  assert.equal((await call("GET", GADGETS)).code, 404);
  await call("POST", DEFINITIONS, gadgetDefinition);
  const definition = await call("GET", `${DEFINITIONS}/gadgets.example.test`);
  const conditions = arrayAt(objectAt(definition.body, "status"), "conditions");
  assert.deepEqual(
    conditions.map((condition) => [textAt(condition, "type"), textAt(condition, "status")]),
    [
      ["NamesAccepted", "True"],
      ["Established", "True"],
    ],
  );
  assert.equal((await call("GET", GADGETS)).code, 200);
  const resources = await call("GET", "/apis/example.test/v1");
  const [main, status, scale] = arrayAt(resources.body, "resources");
  assert.deepEqual(
    [textAt(main, "name"), textAt(status, "name"), textAt(scale, "name")],
    ["gadgets", "gadgets/status", "gadgets/scale"],
  );
});

test("a deleted definition takes its objects along, ends its watches, and is 404 from then on", async (t) => {
  const { call, watch } = await startTrial(t);
  await call("POST", DEFINITIONS, gadgetDefinition);
  const open = await watch(`${GADGETS}?watch=true`);
  await call("POST", GADGETS, gadget("one", { size: "small" }));
  await call("DELETE", `${DEFINITIONS}/gadgets.example.test`);
  assert.equal((await open.next())?.type, "ADDED");
  assert.equal((await open.next())?.type, "DELETED");
  assert.equal(await open.next(), undefined);
  assert.equal((await call("GET", GADGETS)).code, 404);
  assert.equal((await call("GET", `${DEFINITIONS}/gadgets.example.test`)).code, 404);
  await call("POST", DEFINITIONS, gadgetDefinition);
  assert.equal(arrayAt((await call("GET", GADGETS)).body, "items").length, 0);
});

test("objects of it are pruned, completed and checked by its schema", async (t) => {
  const { call } = await startTrial(t);
  await call("POST", DEFINITIONS, gadgetDefinition);
  const made = await call("POST", GADGETS, gadget("one", { size: "small", extra: true, limit: "5%" }));
  assert.deepEqual(made.body.spec, { size: "small", limit: "5%", color: "grey" });
  const wrong = await call("POST", GADGETS, gadget("two", { size: "huge", replicas: -1, limit: true }));
  assert.equal(wrong.code, 422);
  const causes = arrayAt(objectAt(wrong.body, "details"), "causes");
  assert.deepEqual(
    new Set(causes.map((cause) => textAt(cause, "field"))),
    new Set(["spec.size", "spec.replicas", "spec.limit"]),
  );
  const message = 'Unsupported value: "huge": supported values: "small", "large"';
  assert.ok(causes.some((cause) => textAt(cause, "message") === message));
  const empty = await call("POST", GADGETS, { ...gadget("three", {}), spec: undefined });
  assert.equal(empty.body.message, 'Gadget.example.test "three" is invalid: spec: Required value');
  const strict = await call(
    "POST",
    `${GADGETS}?fieldValidation=Strict`,
    gadget("four", { size: "small", extra: 1 }),
  );
  assert.equal(strict.code, 400);
  assert.match(textAt(strict.body, "message"), /strict decoding error: unknown field "spec\.extra"$/);
});

test("an object is read and written at every served version", async (t) => {
  const { call } = await startTrial(t);
  await call("POST", DEFINITIONS, gadgetDefinition);
  await call("POST", GADGETS, gadget("one", { size: "small" }));
  const beta = await call("GET", GADGETS.replace("/v1/", "/v1beta1/"));
  assert.equal(beta.body.apiVersion, "example.test/v1beta1");
  assert.equal(textAt(arrayAt(beta.body, "items")[0], "apiVersion"), "example.test/v1beta1");
});

test("the table of a custom resource has the columns of its definition", async (t) => {
  const { call, cluster } = await startTrial(t);
  await call("POST", DEFINITIONS, gadgetDefinition);
  await call("POST", GADGETS, gadget("one", { size: "small" }));
  const status = { status: { conditions: [{ type: "Ready", status: "True" }] } };
  await call("PATCH", `${GADGETS}/one/status`, status, "application/merge-patch+json");
  const accept = { accept: "application/json;as=Table;v=v1;g=meta.k8s.io" };
  const table: unknown = await (await fetch(cluster.url + GADGETS, { headers: accept })).json();
  assert.deepEqual(arrayAt(arrayAt(table, "rows")[0], "cells"), ["one", "small", "True"]);
});
