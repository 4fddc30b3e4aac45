import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import type { ReadSecret } from "@sluice/ingress";
import { resources, type Secret } from "@sluice/kube";
import { createKit } from "@sluice/service-kit";
import { SecretSource } from "./secret-source.ts";
import { FakeHub } from "./testing/fake-hub.ts";

const within = (t: TestContext, condition: () => void) =>
  t.waitFor(condition, { timeout: 60_000, interval: 10 });

const put = (hub: FakeHub, name: string, type: string) =>
  hub.put<Secret>(resources.secret, { metadata: { name, namespace: "shop" }, type, data: {} });

function source(t: TestContext, hub: FakeHub) {
  const controller = new AbortController();
  const { signal } = controller;
  const told: [string, ReadSecret | null | undefined][] = [];
  const sink = {
    secret: (key: string, secret: ReadSecret | null | undefined) => void told.push([key, secret]),
    refreshed: () => {},
  };
  const secrets = new SecretSource(hub, sink, createKit({ service: "config-renderer", signal }));
  const running = secrets.run(signal);
  t.after(async () => {
    controller.abort();
    await Promise.all([running, secrets.done]);
  });
  return { secrets, told, signal };
}

const naming = (...names: string[]) => new Map(names.map((name) => [`shop/${name}`, true]));

test("of all Secrets of a hub those are told of that somebody names, whatever their type", async (t) => {
  const hub = new FakeHub();
  for (let n = 0; n < 500; n++) put(hub, `t${n}`, "kubernetes.io/tls");
  for (let n = 0; n < 500; n++) put(hub, `o${n}`, "Opaque");
  const { secrets, told } = source(t, hub);
  secrets.name(naming("t7", "o7", "missing"));
  await within(t, () => assert.ok(secrets.known));
  const found = told.map(([key, secret]) => `${key} ${secret?.key ?? secret}`).sort();
  assert.deepEqual(found, ["shop/missing null", "shop/o7 shop/o7", "shop/t7 shop/t7"]);
  // One list of certificates, and one for each of the other two.
  assert.equal(hub.lists, 3);
});

test("one that nobody names any more is told of no more", async (t) => {
  const hub = new FakeHub();
  put(hub, "gone", "Opaque");
  put(hub, "kept", "Opaque");
  const { secrets, told } = source(t, hub);
  secrets.name(naming("gone", "kept"));
  await within(t, () => assert.ok(secrets.known));
  secrets.name(new Map([["shop/gone", false]]));
  await within(t, () => assert.deepEqual(told.at(-1), ["shop/gone", undefined]));
  const before = told.length;
  put(hub, "gone", "Opaque");
  put(hub, "kept", "Opaque");
  await within(t, () => assert.equal(told.at(-1)?.[0], "shop/kept"));
  assert.equal(told.length, before + 1);
});

test("of very many that are no certificates a thousand are watched, and the others count as missing", async (t) => {
  const hub = new FakeHub();
  const names = Array.from({ length: 1010 }, (_, n) => `o${n}`);
  for (const name of names) put(hub, name, "Opaque");
  const { secrets, told } = source(t, hub);
  secrets.name(naming(...names));
  await within(t, () => assert.ok(secrets.known));
  assert.equal(told.filter(([, secret]) => secret === null).length, 10);
  assert.equal(hub.lists, 1001);
});

test("what was read before a refresh counts when it has been read again", async (t) => {
  const hub = new FakeHub();
  put(hub, "web", "kubernetes.io/tls");
  put(hub, "who", "Opaque");
  const { secrets, signal } = source(t, hub);
  secrets.name(naming("web", "who"));
  await within(t, () => assert.ok(secrets.known));
  hub.frozen = true;
  secrets.refresh(null, signal);
  assert.ok(!secrets.isFresh("shop/web") && !secrets.isFresh("shop/who") && !secrets.known);
  const { lists } = hub;
  await within(t, () => assert.equal(hub.lists, lists + 2));
  assert.ok(!secrets.isFresh("shop/web") && !secrets.isFresh("shop/who"));
});
