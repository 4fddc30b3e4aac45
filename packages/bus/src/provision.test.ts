import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import {
  DiscardPolicy,
  type JetStreamManager,
  jetstreamManager,
  RetentionPolicy,
  StorageType,
  type StreamConfig,
} from "@nats-io/jetstream";
import { connect, type NatsConnection } from "@nats-io/transport-node";
import { BusAssetError, BusServerError } from "@sluice/contracts";
import { ensureTool, type NatsServer, startNatsServer } from "@sluice/native-tools";
import { createKit } from "@sluice/service-kit";
import { assetGroups } from "./assets.ts";
import { NatsStore } from "./nats-store.ts";
import { type PatientApi, patientApi } from "./patient-api.ts";
import { compareSettings, provision } from "./provision.ts";

const forever = new AbortController().signal;
const assets = assetGroups.flat();
let root: string;
let server: NatsServer;
let connection: NatsConnection;
let jsm: JetStreamManager;
let api: PatientApi;

before(async () => {
  root = await mkdtemp(join(tmpdir(), "sluice-provision-"));
  const tool = await ensureTool("nats-server", { signal: forever });
  server = await startNatsServer({ tool, storeDir: join(root, "nats"), signal: forever });
  connection = await connect({ servers: server.url });
  jsm = await jetstreamManager(connection);
  api = await patientApi(connection);
});
after(async () => {
  await connection.close();
  await server.close();
  await rm(root, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 });
});

async function refusal(): Promise<string> {
  try {
    await provision(api, jsm, { replicas: 1 });
  } catch (error) {
    assert.ok(error instanceof BusAssetError, String(error));
    assert.equal(error.exit, 65);
    return error.message;
  }
  assert.fail("nothing was refused");
}

test("what is missing is made, in full, and a second look finds nothing to say", async () => {
  const made = await provision(api, jsm, { replicas: 1 });
  assert.ok(made.includes("KV_sluice_slices"));
  assert.ok(!made.includes("KV_sluice_boot"), "boot's loss is no table's");
  assert.deepEqual(await provision(api, jsm, { replicas: 1 }), []);
  for (const { settings } of assets) await jsm.streams.info(settings.name);
});

test("each setting of each stream is compared: a change of any is named", async () => {
  let settingsSeen = 0;
  for (const { settings } of assets) {
    const { config } = await jsm.streams.info(settings.name);
    assert.deepEqual(compareSettings(settings, config), []);
    for (const [name, needed] of Object.entries(settings)) {
      if (name === "name") continue;
      settingsSeen++;
      const other = needed === null ? { name: "other" } : typeof needed === "boolean" ? !needed : "other";
      const changed = { ...config, [name]: other } as unknown as StreamConfig;
      const said = `${settings.name}: ${name} is ${JSON.stringify(other)}, needed is ${JSON.stringify(needed)}`;
      assert.deepEqual(compareSettings(settings, changed), [said]);
    }
  }
  assert.ok(settingsSeen > 200);
});

/** What a hand can change on a server of any version that Sluice runs on. */
const byHand: readonly (readonly [string, Partial<StreamConfig>])[] = [
  ["subjects", { subjects: ["$KV.sluice_verdicts.>", "mine.>"] }],
  ["retention", { retention: RetentionPolicy.Interest }],
  ["storage", { storage: StorageType.Memory }],
  ["max_msgs_per_subject", { max_msgs_per_subject: 5 }],
  ["max_msgs", { max_msgs: 1000 }],
  ["max_bytes", { max_bytes: 1_000_000 }],
  ["max_msg_size", { max_msg_size: 1000 }],
  ["max_consumers", { max_consumers: 10 }],
  ["max_age", { max_age: 3600e9 }],
  ["discard", { discard: DiscardPolicy.Old }],
  ["discard_new_per_subject", { discard_new_per_subject: true }],
  ["no_ack", { no_ack: true }],
  ["deny_delete", { deny_delete: true }],
  ["deny_purge", { deny_purge: true }],
  ["allow_direct", { allow_direct: false }],
  ["allow_rollup_hdrs", { allow_rollup_hdrs: true }],
  ["republish", { republish: { src: "$KV.sluice_verdicts.>", dest: "elsewhere.>" } }],
  ["sources", { sources: [{ name: "sluice_events" }] }],
];
for (const [name, change] of byHand) {
  test(`a bucket whose ${name} was changed by hand is refused, with the difference in the message`, async () => {
    const stream = "KV_sluice_verdicts";
    const { config } = await jsm.streams.info(stream);
    await jsm.streams.delete(stream);
    try {
      await jsm.streams.add({ ...config, ...change, name: stream });
      const said = await refusal();
      assert.match(
        said,
        new RegExp(`^${stream}: ${name} is .*, needed is .*\\. Undo the change, or delete the bucket`),
      );
      assert.equal(said.split("; ").length, 1, "and nothing else is said");
    } finally {
      await jsm.streams.delete(stream);
    }
    assert.deepEqual(await provision(api, jsm, { replicas: 1 }), [stream], "deleted, it comes back");
  });
}

test("the bounds of the log are whoever's who runs the bus", async () => {
  const { config } = await jsm.streams.info("sluice_log");
  await jsm.streams.update("sluice_log", { ...config, max_bytes: 1_000_000, max_age: 3600e9 });
  assert.deepEqual(await provision(api, jsm, { replicas: 1 }), []);
});

test("copies are refused where there is one server, with the reason", async () => {
  const stop = new AbortController();
  const kit = createKit({ service: "test", signal: stop.signal });
  const store = new NatsStore({ url: server.url, name: "aggregator", replicas: 3, kit });
  await assert.rejects(store.ready(stop.signal), (error: unknown) => {
    assert.ok(error instanceof BusServerError);
    assert.match(error.message, /is in no cluster|lacks compare-and-set on replicated streams/);
    return true;
  });
  stop.abort();
  await store.close();
});

test("a table that was deleted under running servers begins another life of them", {
  timeout: 240_000,
}, async () => {
  const stop = new AbortController();
  const kit = createKit({ service: "test", signal: stop.signal });
  const { url } = server;
  const first = new NatsStore({ url, name: "operator", kit });
  const stores = [first];
  try {
    const before = await first.boot(stop.signal);
    await jsm.streams.delete("KV_sluice_slices");
    const second = new NatsStore({ url, name: "aggregator", kit });
    stores.push(second);
    const after = await second.boot(stop.signal);
    assert.notEqual(after, before);
    for (let tries = 0; (await first.boot(stop.signal)) !== after; tries++) {
      assert.ok(tries < 12_000, "whoever is connected hears of it");
      await kit.clock.sleep(10, stop.signal);
    }
  } finally {
    stop.abort();
    await Promise.all(stores.map((store) => store.close()));
  }
});
