import assert from "node:assert/strict";
import { test } from "node:test";
import { arrayAt, objectAt, textAt } from "./json.ts";
import { CORE, DEPLOYMENTS, deployment, SLICES, service, slice, startTrial } from "./trial-cluster.ts";

test("a created object has an identity, defaults and a version, and a second one of its name is refused", async (t) => {
  const { call } = await startTrial(t);
  const made = await call("POST", `${CORE}/services`, service("echo"));
  assert.equal(made.code, 201);
  const metadata = objectAt(made.body, "metadata");
  assert.match(textAt(metadata, "uid"), /^[0-9a-f-]{36}$/);
  assert.match(textAt(metadata, "creationTimestamp"), /^\d{4}-.*Z$/);
  const spec = objectAt(made.body, "spec");
  assert.equal(spec.type, "ClusterIP");
  assert.match(textAt(spec, "clusterIP"), /^10\.96\./);
  assert.deepEqual(spec.ports, [{ name: "http", port: 80, protocol: "TCP", targetPort: 80 }]);
  const again = await call("POST", `${CORE}/services`, service("echo"));
  assert.equal(again.code, 409);
  assert.equal(again.body.reason, "AlreadyExists");
  assert.equal(again.body.message, 'services "echo" already exists');
});

test("what is missing is 404: an object, its namespace, its resource", async (t) => {
  const { call } = await startTrial(t);
  const object = await call("GET", `${DEPLOYMENTS}/none`);
  assert.equal(object.code, 404);
  assert.deepEqual(object.body.details, { name: "none", group: "apps", kind: "deployments" });
  assert.equal(object.body.message, 'deployments.apps "none" not found');
  const namespace = await call("POST", "/api/v1/namespaces/nowhere/services", service("echo"));
  assert.equal(namespace.code, 404);
  assert.equal(namespace.body.message, 'namespaces "nowhere" not found');
  const resource = await call("GET", "/apis/example.test/v1/gadgets");
  assert.equal(resource.code, 404);
  assert.equal(resource.body.message, "the server could not find the requested resource");
});

test("an update of a state that has changed meanwhile is a conflict", async (t) => {
  const { call } = await startTrial(t);
  const made = await call("POST", `${CORE}/services`, service("echo"));
  const first = await call("PUT", `${CORE}/services/echo`, {
    ...made.body,
    metadata: { ...objectAt(made.body, "metadata"), labels: { app: "other" } },
  });
  assert.equal(first.code, 200);
  const second = await call("PUT", `${CORE}/services/echo`, made.body);
  assert.equal(second.code, 409);
  assert.match(
    textAt(second.body, "message"),
    /^Operation cannot be fulfilled on services "echo": the object has been/,
  );
});

test("a write that changes nothing keeps the resourceVersion and tells no watcher", async (t) => {
  const { call, cluster } = await startTrial(t);
  const made = await call("POST", SLICES, slice("echo-1", "127.11.0.1"));
  const before = cluster.store.version;
  const same = await call("PUT", `${SLICES}/echo-1`, made.body);
  assert.equal(same.code, 200);
  assert.equal(cluster.store.version, before);
});

const refusals = {
  "an unknown field": {
    path: `${CORE}/services?fieldValidation=Strict`,
    body: { ...service("echo"), spec: { ports: [{ port: 80, prot: "TCP" }] } },
    code: 400,
    message: /strict decoding error: unknown field "spec\.ports\[0\]\.prot"$/,
  },
  "an ill-typed field": {
    path: `${CORE}/services`,
    body: { ...service("echo"), spec: { ports: [{ port: "80" }] } },
    code: 400,
    message: /json: cannot unmarshal string into Go struct field Service\.spec\.ports\.port of type int32$/,
  },
  "a port out of range": {
    path: `${CORE}/services`,
    body: service("echo", 70000),
    code: 422,
    message:
      /^Service "echo" is invalid: \[spec\.ports\[0\]\.port: Invalid value: 70000: must be between 1 and 65535, inclusive, /,
  },
  "a service name over 63 characters": {
    path: `${CORE}/services`,
    body: { ...service("echo"), metadata: { name: "a".repeat(64) } },
    code: 422,
    message: /metadata\.name: Invalid value: "a+": must be no more than 63 characters$/,
  },
  "a selector that misses its template": {
    path: DEPLOYMENTS,
    body: {
      ...deployment("echo"),
      spec: { ...objectAt(deployment("echo"), "spec"), selector: { matchLabels: { a: "b" } } },
    },
    code: 422,
    message: /`selector` does not match template `labels`$/,
  },
  "another namespace than the path's": {
    path: `${CORE}/services`,
    body: { ...service("echo"), metadata: { name: "echo", namespace: "shop" } },
    code: 400,
    message: /does not match the namespace sent on the request$/,
  },
};

for (const [what, { path, body, code, message }] of Object.entries(refusals)) {
  test(`${what} is refused as kube-apiserver words it`, async (t) => {
    const { call } = await startTrial(t);
    const refused = await call("POST", path, body);
    assert.equal(refused.code, code);
    assert.match(textAt(refused.body, "message"), message);
  });
}

test("without strict validation an unknown field is dropped with a warning", async (t) => {
  const { call } = await startTrial(t);
  const made = await call("POST", `${CORE}/services`, { ...service("echo"), extra: 1 });
  assert.equal(made.code, 201);
  assert.equal(made.headers.get("warning"), '299 - "unknown field \\"extra\\""');
  assert.equal(made.body.extra, undefined);
});

test("generation counts changes of the spec, not of status or labels", async (t) => {
  const { call } = await startTrial(t);
  await call("POST", DEPLOYMENTS, deployment("echo", 1));
  const generation = async () =>
    objectAt((await call("GET", `${DEPLOYMENTS}/echo`)).body, "metadata").generation;
  const merge = (path: string, patch: unknown) => call("PATCH", path, patch, "application/merge-patch+json");
  assert.equal(await generation(), 1);
  await merge(`${DEPLOYMENTS}/echo`, { metadata: { labels: { a: "b" } } });
  await merge(`${DEPLOYMENTS}/echo/status`, { status: { replicas: 1 }, spec: { replicas: 9 } });
  assert.equal(await generation(), 1);
  const scaled = await merge(`${DEPLOYMENTS}/echo/scale`, { spec: { replicas: 4 } });
  assert.deepEqual(objectAt(scaled.body, "spec"), { replicas: 4 });
  assert.deepEqual(objectAt(scaled.body, "status"), { replicas: 1, selector: "app=echo" });
  assert.equal(await generation(), 2);
});

test("the main resource does not write status, nor the status subresource the spec", async (t) => {
  const { call } = await startTrial(t);
  const made = await call("POST", DEPLOYMENTS, { ...deployment("echo", 2), status: { replicas: 7 } });
  assert.equal(made.body.status, undefined);
  const status = { ...made.body, spec: objectAt(deployment("echo", 9), "spec"), status: { replicas: 2 } };
  const written = await call("PUT", `${DEPLOYMENTS}/echo/status`, status);
  assert.deepEqual(written.body.status, { replicas: 2 });
  assert.equal(objectAt(written.body, "spec").replicas, 2);
});

test("a finalizer keeps a deleted object until it is taken away", async (t) => {
  const { call } = await startTrial(t);
  const body = { ...service("echo"), metadata: { name: "echo", finalizers: ["example.test/hold"] } };
  await call("POST", `${CORE}/services`, body);
  const held = await call("DELETE", `${CORE}/services/echo`);
  assert.ok(textAt(objectAt(held.body, "metadata"), "deletionTimestamp"));
  const patch = [{ op: "remove", path: "/metadata/finalizers" }];
  await call("PATCH", `${CORE}/services/echo`, patch, "application/json-patch+json");
  assert.equal((await call("GET", `${CORE}/services/echo`)).code, 404);
});

test("a bound pod stays for its grace period until the node deletes it with none", async (t) => {
  const { call } = await startTrial(t);
  const pod = (name: string, nodeName?: string) => ({
    apiVersion: "v1",
    kind: "Pod",
    metadata: { name },
    spec: {
      containers: [{ name: "main", image: "echo:1" }],
      ...(nodeName === undefined ? {} : { nodeName }),
    },
  });
  await call("POST", `${CORE}/pods`, pod("bound", "node-1"));
  await call("POST", `${CORE}/pods`, pod("unbound"));
  await call("DELETE", `${CORE}/pods/unbound`);
  assert.equal((await call("GET", `${CORE}/pods/unbound`)).code, 404);
  const leaving = await call("DELETE", `${CORE}/pods/bound?gracePeriodSeconds=5`);
  assert.equal(objectAt(leaving.body, "metadata").deletionGracePeriodSeconds, 5);
  const onNode = await call("GET", `${CORE}/pods?fieldSelector=spec.nodeName%3Dnode-1`);
  assert.equal(arrayAt(onNode.body, "items").length, 1);
  await call("DELETE", `${CORE}/pods/bound`, {
    kind: "DeleteOptions",
    apiVersion: "v1",
    gracePeriodSeconds: 0,
  });
  assert.equal((await call("GET", `${CORE}/pods/bound`)).code, 404);
});

test("dependents go with their last owner, or stay when they are to be orphaned", async (t) => {
  const { call } = await startTrial(t);
  for (const [name, policy, left] of [
    ["taken", "Background", 404],
    ["kept", "Orphan", 200],
    ["waited", "Foreground", 404],
  ] as const) {
    const owner = await call("POST", DEPLOYMENTS, deployment(name));
    const { uid } = objectAt(owner.body, "metadata");
    const reference = { apiVersion: "apps/v1", kind: "Deployment", name, uid, blockOwnerDeletion: true };
    const child = { ...slice(name, "127.11.0.1"), metadata: { name, ownerReferences: [reference] } };
    await call("POST", SLICES, child);
    await call("DELETE", `${DEPLOYMENTS}/${name}?propagationPolicy=${policy}`);
    assert.equal((await call("GET", `${DEPLOYMENTS}/${name}`)).code, 404, `${policy}: the owner is gone`);
    const after = await call("GET", `${SLICES}/${name}`);
    assert.equal(after.code, left, policy);
    if (left === 200) assert.equal(objectAt(after.body, "metadata").ownerReferences, undefined);
  }
});

test("a namespace takes its content with it and admits nothing while it ends", async (t) => {
  const { call } = await startTrial(t);
  await call("POST", "/api/v1/namespaces", { metadata: { name: "shop" } });
  const held = { ...service("held"), metadata: { name: "held", finalizers: ["example.test/hold"] } };
  await call("POST", "/api/v1/namespaces/shop/services", held);
  await call("POST", "/api/v1/namespaces/shop/services", service("echo"));
  await call("DELETE", "/api/v1/namespaces/shop");
  assert.equal((await call("GET", "/api/v1/namespaces/shop/services/echo")).code, 404);
  const ending = await call("GET", "/api/v1/namespaces/shop");
  assert.equal(objectAt(ending.body, "status").phase, "Terminating");
  assert.equal((await call("POST", "/api/v1/namespaces/shop/services", service("late"))).code, 403);
  const patch = { metadata: { finalizers: null } };
  await call("PATCH", "/api/v1/namespaces/shop/services/held", patch, "application/merge-patch+json");
  assert.equal((await call("GET", "/api/v1/namespaces/shop")).code, 404);
});

test("strategic merge patches merge ports and containers by their keys", async (t) => {
  const { call } = await startTrial(t);
  const strategic = (path: string, patch: unknown) =>
    call("PATCH", path, patch, "application/strategic-merge-patch+json");
  await call("POST", `${CORE}/services`, service("echo"));
  const added = await strategic(`${CORE}/services/echo`, { spec: { ports: [{ port: 81, name: "more" }] } });
  assert.deepEqual(
    arrayAt(objectAt(added.body, "spec"), "ports").map((port) => textAt(port, "name")),
    ["http", "more"],
  );
  const removed = await strategic(`${CORE}/services/echo`, {
    spec: { ports: [{ port: 80, $patch: "delete" }] },
  });
  assert.equal(arrayAt(objectAt(removed.body, "spec"), "ports").length, 1);
  await call("POST", DEPLOYMENTS, deployment("echo"));
  const image = { spec: { template: { spec: { containers: [{ name: "main", image: "echo:2" }] } } } };
  const patched = await strategic(`${DEPLOYMENTS}/echo`, image);
  const [container] = arrayAt(
    objectAt(objectAt(objectAt(patched.body, "spec"), "template"), "spec"),
    "containers",
  );
  assert.equal(textAt(container, "image"), "echo:2");
  assert.equal(arrayAt(container, "ports").length, 1);
});

test("a list is read in pages of one version, and a forgotten page is 410", async (t) => {
  const { call, cluster } = await startTrial(t);
  for (let i = 0; i < 5; i++) await call("POST", `${CORE}/services`, service(`s${i}`));
  const first = await call("GET", `${CORE}/services?limit=2`);
  const metadata = objectAt(first.body, "metadata");
  assert.equal(metadata.remainingItemCount, 3);
  await call("DELETE", `${CORE}/services/s4`);
  const rest = await call("GET", `${CORE}/services?limit=9&continue=${textAt(metadata, "continue")}`);
  assert.deepEqual(
    arrayAt(rest.body, "items").map((item) => textAt(objectAt(item, "metadata"), "name")),
    ["s2", "s3", "s4"],
  );
  assert.equal(objectAt(rest.body, "metadata").resourceVersion, metadata.resourceVersion);
  const next = await call("GET", `${CORE}/services?limit=2`);
  await cluster.setFault({ api: "gone" });
  const token = textAt(objectAt(next.body, "metadata"), "continue");
  const late = await call("GET", `${CORE}/services?limit=2&continue=${token}`);
  assert.equal(late.code, 410);
  assert.equal(late.body.reason, "Expired");
});

test("label selectors know sets, absence and inequality; unknown field selectors are refused", async (t) => {
  const { call } = await startTrial(t);
  for (const name of ["a", "b", "c"]) await call("POST", `${CORE}/services`, service(name));
  const names = async (selector: string) => {
    const { body } = await call("GET", `${CORE}/services?labelSelector=${encodeURIComponent(selector)}`);
    return arrayAt(body, "items").map((item) => textAt(objectAt(item, "metadata"), "name"));
  };
  assert.deepEqual(await names("app in (a, c)"), ["a", "c"]);
  assert.deepEqual(await names("app notin (a),app!=b"), ["c"]);
  assert.deepEqual(await names("!app"), []);
  assert.equal((await call("GET", `${CORE}/services?fieldSelector=spec.x%3D1`)).code, 400);
});

test("a table has the columns that kubectl shows", async (t) => {
  const { call, cluster } = await startTrial(t);
  await call("POST", `${CORE}/services`, service("echo"));
  const response = await fetch(`${cluster.url}${CORE}/services`, {
    headers: { accept: "application/json;as=Table;v=v1;g=meta.k8s.io,application/json" },
  });
  const table: unknown = await response.json();
  assert.deepEqual(
    arrayAt(table, "columnDefinitions").map((column) => textAt(column, "name")),
    ["Name", "Type", "Cluster-IP", "External-IP", "Port(s)", "Age", "Selector"],
  );
  assert.deepEqual(arrayAt(arrayAt(table, "rows")[0], "cells").slice(0, 2), ["echo", "ClusterIP"]);
});

test("an Event is seen in both of its groups", async (t) => {
  const { call } = await startTrial(t);
  const made = await call("POST", "/apis/events.k8s.io/v1/namespaces/default/events", {
    metadata: { generateName: "echo." },
    regarding: { kind: "Service", name: "echo", namespace: "default" },
    reason: "Seen",
    note: "it is there",
    type: "Normal",
    eventTime: "2026-01-01T00:00:00.000000Z",
  });
  assert.equal(made.code, 201);
  const core = await call("GET", `${CORE}/events?fieldSelector=involvedObject.name%3Decho`);
  const [event] = arrayAt(core.body, "items");
  assert.equal(textAt(event, "message"), "it is there");
  assert.equal(textAt(event, "apiVersion"), "v1");
});
