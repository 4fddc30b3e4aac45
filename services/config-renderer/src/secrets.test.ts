import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Writable } from "node:stream";
import { after, suite, type TestContext, test } from "node:test";
import type { MemoryServer } from "@sluice/bus/testing";
import { type FleetValue, fleetTable, type RouteRow, type SecretRow } from "@sluice/contracts";
import { type MultiClusterIngress, resources, type Secret } from "@sluice/kube";
import { type TrialCertificate, trialCertificate } from "@sluice/native-tools/testing";
import { openSealed, readPrivateKey, readPublicKey, writeFleetKey } from "@sluice/sealing";
import { createLogger } from "@sluice/service-kit";
import type { FakeHub } from "./testing/fake-hub.ts";
import { importWorld, startRenderer } from "./testing/world.ts";

const folder = await mkdtemp(join(tmpdir(), "sluice-secrets-"));
after(() => rm(folder, { recursive: true }));
const files = await writeFleetKey(join(folder, "first"));
const fleetKey = await readPublicKey(files.publicFile);
const privateKeys = [await readPrivateKey(files.privateFile)];

const host = "shop.example.test";
const [first, second] = [
  await trialCertificate({ names: [host] }),
  await trialCertificate({ names: [host] }),
];
const route = "default.routes.shop_example_test";
const row = "default.secrets.shop-web-tls";

/** Generous, because the tests run side by side and the machine may be busy; a condition that holds ends it at once. */
const within = (t: TestContext, condition: () => void | Promise<void>) =>
  t.waitFor(condition, { timeout: 60_000, interval: 10 });

const base64 = (text: string) => Buffer.from(text).toString("base64");

function putSecret(hub: FakeHub, data: Readonly<Record<string, string>>, type = "kubernetes.io/tls"): void {
  const encoded = Object.fromEntries(Object.entries(data).map(([key, text]) => [key, base64(text)]));
  hub.put<Secret>(resources.secret, { metadata: { name: "web", namespace: "shop" }, type, data: encoded });
}

const putTls = (hub: FakeHub, { cert, key }: TrialCertificate, type?: string) =>
  putSecret(hub, { "tls.crt": cert, "tls.key": key }, type);

function putIngress(hub: FakeHub, withTls = true): void {
  const backend = { service: { name: "web", port: { number: 80 } } };
  hub.put<MultiClusterIngress>(resources.multiClusterIngress, {
    metadata: { name: "shop", namespace: "shop", creationTimestamp: "2026-01-01T00:00:00Z" },
    spec: {
      ingressClassName: "nginx",
      ...(withTls ? { tls: [{ hosts: [host], secretName: "web" }] } : {}),
      rules: [{ host, http: { paths: [{ path: "/", pathType: "Prefix", backend }] } }],
    },
  });
}

/** A hub with an import and an MCI with TLS, a reader, and no renderer yet. */
function world(t: TestContext) {
  const { server, hub, fleet } = importWorld(t);
  putIngress(hub);
  return { server, hub, fleet, start: () => startRenderer(server, hub, { fleetKey }) };
}

/** The same with a renderer, whose row of the Secret is there. */
async function served(t: TestContext) {
  const given = world(t);
  putTls(given.hub, first);
  const renderer = given.start();
  t.after(() => renderer.stop());
  await within(t, () => assert.ok(given.fleet.settled && given.fleet.rows.has(row)));
  return { ...given, renderer };
}

const chain = (fleet: { get(key: string): unknown }) => (fleet.get(row) as SecretRow | undefined)?.chain;

async function keyOf(fleet: { get(key: string): unknown }): Promise<string | undefined> {
  const { id, sealed } = fleet.get(row) as SecretRow;
  assert.ok(sealed !== undefined);
  return (await openSealed(privateKeys, "default", id, sealed)).key;
}

/** What lies at each key of the table. */
async function raw(server: MemoryServer): Promise<Map<string, string>> {
  const store = server.connect();
  const found = new Map<string, string>();
  for (const key of server.keys("fleet")) {
    const entry = await store.get(fleetTable, key, new AbortController().signal);
    if (entry !== null) found.set(key, Buffer.from(entry.value).toString());
  }
  return found;
}

suite("Secrets of the hub", { concurrency: 6 }, () => {
  test("a certificate stands in the fleet before the route that shows it, its key for proxies alone", async (t) => {
    const { fleet } = await served(t);
    assert.equal((fleet.get(route) as RouteRow).certificate, "shop-web-tls");
    assert.equal(chain(fleet), first.cert);
    assert.equal(await keyOf(fleet), first.key);
    assert.ok(fleet.order.indexOf(row) < fleet.order.indexOf(route));
  });

  test("a Secret that changes changes its row alone", async (t) => {
    const { hub, fleet } = await served(t);
    const before = fleet.order.length;
    putTls(hub, second);
    await within(t, () => assert.equal(chain(fleet), second.cert));
    assert.equal(await keyOf(fleet), second.key);
    assert.deepEqual(fleet.order.slice(before), [row]);
  });

  test("one that comes after its object is shown from then on, and what was said of it is taken back", async (t) => {
    const { hub, fleet, start } = world(t);
    const renderer = start();
    t.after(() => renderer.stop());
    await within(t, () => assert.ok(hub.events.some(({ reason }) => reason === "SecretMissing")));
    assert.equal((fleet.get(route) as RouteRow).certificate, "shop-web-tls");
    assert.ok(!fleet.rows.has(row));
    putTls(hub, first);
    await within(t, () => assert.equal(chain(fleet), first.cert));
    await within(t, async () => assert.doesNotMatch(await renderer.metrics(), /reason="SecretMissing"/));
  });

  test("one of another type counts too, and so does one that takes another's name", async (t) => {
    const { hub, fleet, start } = world(t);
    putTls(hub, first, "Opaque");
    const renderer = start();
    t.after(() => renderer.stop());
    await within(t, () => assert.equal(chain(fleet), first.cert));
    hub.remove(resources.secret, "shop/web");
    await within(t, () => assert.ok(!fleet.rows.has(row)));
    putTls(hub, second);
    await within(t, () => assert.equal(chain(fleet), second.cert));
    hub.remove(resources.secret, "shop/web");
    putTls(hub, first, "Opaque");
    await within(t, () => assert.equal(chain(fleet), first.cert));
  });

  test("one that turns bad keeps its row, also where another renderer takes over; one that goes loses it", async (t) => {
    const { hub, fleet, renderer, start } = await served(t);
    putSecret(hub, { "tls.crt": second.cert, "tls.key": first.key });
    await within(t, () => assert.ok(hub.events.some(({ reason }) => reason === "SecretInvalid")));
    await renderer.stop();
    const other = start();
    t.after(() => other.stop());
    await within(t, () => assert.equal(other.rank, 0));
    await within(t, () => assert.ok(fleet.settled));
    assert.equal(chain(fleet), first.cert);
    hub.remove(resources.secret, "shop/web");
    await within(t, () => assert.ok(!fleet.rows.has(row)));
  });

  test("a row goes after the last route that shows it", async (t) => {
    const { hub, fleet } = await served(t);
    putIngress(hub, false);
    await within(t, () => assert.ok(!fleet.rows.has(row)));
    assert.equal((fleet.get(route) as RouteRow).certificate, undefined);
    assert.ok(fleet.order.lastIndexOf(route) < fleet.order.indexOf(`-${row}`));
  });

  test("whoever takes over seals nothing again that is sealed, from a standby or from nothing", async (t) => {
    const { server, hub, fleet, renderer, start } = await served(t);
    const other = start();
    t.after(() => other.stop());
    // Which of the two holds is decided by their names.
    await within(t, () => assert.deepEqual([renderer.rank, other.rank].sort(), [0, 1]));
    const holder = renderer.rank === 0 ? renderer : other;
    await within(t, () => assert.ok(fleet.settled));
    putTls(hub, second);
    await within(t, () => assert.equal(chain(fleet), second.cert));
    const there = async () => {
      const rows = await raw(server);
      const claims = [...(await rows.keys())].filter((key) => key.startsWith("default._meta.claim.")).length;
      const idAt = (key: string) => JSON.parse(rows.get(key) ?? "{}").id;
      const synced = idAt("default._meta.synced") === idAt(`default._meta.claim.${claims}`);
      return { text: JSON.parse(rows.get(row) ?? "{}").data, whole: synced ? claims : 0, claims };
    };
    const { text, claims } = await there();
    await holder.stop();
    await within(t, async () => assert.equal((await there()).whole, claims + 1));
    await (holder === renderer ? other : renderer).stop();
    const third = start();
    t.after(() => third.stop());
    await within(t, async () => assert.equal((await there()).whole, claims + 2));
    assert.deepEqual((await there()).text, text);
  });

  test("another key of the fleet has everything sealed again", async (t) => {
    const { server, hub, fleet, renderer } = await served(t);
    await renderer.stop();
    const other = await writeFleetKey(join(folder, "second"));
    const next = startRenderer(server, hub, { fleetKey: await readPublicKey(other.publicFile) });
    t.after(() => next.stop());
    await within(t, () => assert.equal((fleet.get(row) as SecretRow).sealed?.key, other.id));
    const { id, sealed } = fleet.get(row) as SecretRow;
    assert.ok(sealed !== undefined);
    const opened = await openSealed([await readPrivateKey(other.privateFile)], "default", id, sealed);
    assert.equal(opened.key, first.key);
  });

  test("Secrets that may be read only by name are read by name", async (t) => {
    const { hub, fleet, start } = world(t);
    putTls(hub, first);
    hub.forbidden.set("secrets", "lists");
    const renderer = start();
    t.after(() => renderer.stop());
    await within(t, () => assert.equal(chain(fleet), first.cert));
    putTls(hub, second);
    await within(t, () => assert.equal(chain(fleet), second.cert));
  });

  test("while Secrets cannot be read, routes go on, and rows stay that are there", async (t) => {
    const { server, hub, fleet, renderer, start } = await served(t);
    await renderer.stop();
    hub.forbidden.set("secrets", "all");
    const blind = start();
    t.after(() => blind.stop());
    const backend = { service: { name: "web", port: { number: 80 } } };
    hub.put<MultiClusterIngress>(resources.multiClusterIngress, {
      metadata: { name: "more", namespace: "shop" },
      spec: {
        ingressClassName: "nginx",
        tls: [{ hosts: ["more.example.test"], secretName: "more" }],
        rules: [{ host: "more.example.test", http: { paths: [{ path: "/", pathType: "Prefix", backend }] } }],
      },
    });
    await within(t, () => assert.ok(fleet.rows.has("default.routes.more_example_test")));
    assert.equal(chain(fleet), first.cert);
    assert.equal((fleet.get(route) as RouteRow).certificate, "shop-web-tls");
    hub.forbidden.clear();
    putTls(hub, second);
    await within(t, () => assert.equal(chain(fleet), second.cert));
    assert.ok((await raw(server)).has(row));
  });

  test("Secrets that nobody names come nowhere", async (t) => {
    const { server, hub, fleet } = await served(t);
    const other = await trialCertificate({ names: ["other.example.test"] });
    hub.put<Secret>(resources.secret, {
      metadata: { name: "other", namespace: "shop" },
      type: "kubernetes.io/tls",
      data: { "tls.crt": base64(other.cert), "tls.key": base64(other.key) },
    });
    putTls(hub, second);
    await within(t, () => assert.equal(chain(fleet), second.cert));
    assert.deepEqual(
      server.keys("fleet").filter((key) => key.includes(".secrets.")),
      [row],
    );
  });

  test("a key shows nowhere but sealed: not on the bus, in a log, an Event, a status or a metric", async (t) => {
    const { server, hub, fleet } = world(t);
    const lines: string[] = [];
    const destination = new Writable({
      write(chunk, _encoding, done) {
        lines.push(String(chunk));
        done();
      },
    });
    const log = await createLogger({ service: "config-renderer", level: "trace", destination });
    putTls(hub, first);
    const renderer = startRenderer(server, hub, { fleetKey }, log);
    t.after(() => renderer.stop());
    await within(t, () => assert.equal(chain(fleet), first.cert));
    // Whatever is wrong with it, too.
    putSecret(hub, { "tls.crt": first.cert, "tls.key": second.key });
    await within(t, () => assert.ok(hub.events.some(({ reason }) => reason === "SecretInvalid")));
    putSecret(hub, { "tls.crt": "none", "tls.key": first.key.replace("-----END", "x-----END") });
    await within(t, () =>
      assert.ok(hub.events.some(({ message }) => message?.includes("holds no certificate"))),
    );
    const shown = [
      ...lines,
      ...(await raw(server)).values(),
      JSON.stringify([hub.events, hub.applied]),
      await renderer.metrics(),
      JSON.stringify([...fleet.rows.values()] satisfies FleetValue[]),
    ].join("\n");
    assert.ok(lines.length > 0 && shown.includes("shop-web-tls") && shown.includes("SecretInvalid"));
    for (const { key } of [first, second]) {
      for (const line of key.split("\n").filter((text) => text.length > 20 && !text.startsWith("-----"))) {
        for (const text of [line, base64(line), base64(key)]) assert.ok(!shown.includes(text));
      }
    }
  });
});
