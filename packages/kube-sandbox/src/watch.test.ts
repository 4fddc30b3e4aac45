import assert from "node:assert/strict";
import { ServerResponse } from "node:http";
import { test } from "node:test";
import { objectAt, textAt } from "./json.ts";
import { CORE, SLICES, service, slice, startTrial } from "./trial-cluster.ts";

test("a watch tells what happened after its version, in order, and resumes where it stopped", async (t) => {
  const { call, watch } = await startTrial(t);
  const made = await call("POST", SLICES, slice("echo-1", "127.11.0.1"));
  const since = textAt(objectAt(made.body, "metadata"), "resourceVersion");
  const open = await watch(`${SLICES}?watch=true&resourceVersion=${since}`);
  const ready = { endpoints: [{ addresses: ["127.11.0.1"], conditions: { ready: false } }] };
  await call("PATCH", `${SLICES}/echo-1`, ready, "application/merge-patch+json");
  await call("DELETE", `${SLICES}/echo-1`);
  assert.equal((await open.next())?.type, "MODIFIED");
  assert.equal((await open.next())?.type, "DELETED");
  const resumed = await watch(`${SLICES}?watch=true&resourceVersion=${since}`);
  assert.equal((await resumed.next())?.type, "MODIFIED");
});

test("an object that leaves the selection is deleted for that watch, and comes back as added", async (t) => {
  const { call, watch } = await startTrial(t);
  const open = await watch(`${CORE}/services?watch=true&labelSelector=app%3Decho`);
  await call("POST", `${CORE}/services`, service("echo"));
  const label = (app: string) =>
    call("PATCH", `${CORE}/services/echo`, { metadata: { labels: { app } } }, "application/merge-patch+json");
  await label("other");
  await label("echo");
  assert.deepEqual(
    [(await open.next())?.type, (await open.next())?.type, (await open.next())?.type],
    ["ADDED", "DELETED", "ADDED"],
  );
});

test("a watch ends after timeoutSeconds, and asked for initial events it marks their end", async (t) => {
  const { call, watch } = await startTrial(t);
  await call("POST", `${CORE}/services`, service("echo"));
  const query =
    "watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
  const open = await watch(`${CORE}/services?${query}&timeoutSeconds=1`);
  assert.equal((await open.next())?.type, "ADDED");
  const mark = await open.next();
  assert.equal(mark?.type, "BOOKMARK");
  const { annotations } = objectAt(objectAt(mark, "object"), "metadata");
  assert.deepEqual(annotations, { "k8s.io/initial-events-end": "true" });
  assert.equal(await open.next(), undefined);
});

test("a watch from before the history is told 410 and ends", async (t) => {
  const { call, cluster, watch } = await startTrial(t);
  await call("POST", `${CORE}/services`, service("echo"));
  const since = cluster.store.version;
  await cluster.setFault({ api: "gone" });
  const open = await watch(`${CORE}/services?watch=true&resourceVersion=${since}`);
  const event = await open.next();
  assert.equal(event?.type, "ERROR");
  assert.equal(objectAt(event, "object").code, 410);
  assert.equal(objectAt(event, "object").reason, "Expired");
  assert.equal(await open.next(), undefined);
  const listed = await call("GET", `${CORE}/services`);
  const version = textAt(objectAt(listed.body, "metadata"), "resourceVersion");
  const fresh = await watch(`${CORE}/services?watch=true&resourceVersion=${version}`);
  await call("DELETE", `${CORE}/services/echo`);
  assert.equal((await fresh.next())?.type, "DELETED");
});

test("a change is written to its watchers within the write itself", async (t) => {
  const { call, cluster, watch } = await startTrial(t);
  await call("POST", SLICES, slice("echo-1", "127.11.0.1"));
  const open = await watch(`${SLICES}?watch=true`);
  await open.next();
  const object = cluster.store.get("endpointslices.discovery.k8s.io", "default", "echo-1");
  assert.ok(object);
  const written = t.mock.method(ServerResponse.prototype, "write");
  for (let i = 0; i < 10; i++) {
    const before = written.mock.callCount();
    cluster.store.put("endpointslices.discovery.k8s.io", {
      ...object,
      endpoints: [{ addresses: [`127.11.1.${i}`] }],
    });
    // No turn of the event loop lies between: nothing but the write itself can have done it.
    const lines = written.mock.calls.slice(before).map(({ arguments: [chunk] }) => String(chunk));
    assert.equal(lines.length, 1);
    assert.match(lines[0] ?? "", new RegExp(`"127\\.11\\.1\\.${i}"`));
    assert.equal((await open.next())?.type, "MODIFIED");
  }
});
