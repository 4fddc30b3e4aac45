import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { type FleetValue, fleetKeys, type SecretRow } from "@sluice/contracts";
import { ReadSecret, type Secret, type SecretWant } from "@sluice/ingress";
import { trialCertificate } from "@sluice/native-tools/testing";
import { readPublicKey, writeFleetKey } from "@sluice/sealing";
import { ManualClock } from "@sluice/service-kit/testing";
import { SecretRows } from "./secret-rows.ts";

const folder = await mkdtemp(join(tmpdir(), "sluice-secret-rows-"));
after(() => rm(folder, { recursive: true }));
const fleetKey = await readPublicKey((await writeFleetKey(folder)).publicFile);
const id = "shop-web-tls";
const row = fleetKeys.secret("default", id);
const base64 = (text: string) => Buffer.from(text).toString("base64");

/** What is wanted of a row that shows a fresh certificate. */
async function certificateWant(): Promise<SecretWant> {
  const { cert, key } = await trialCertificate({ names: ["shop.example.test"] });
  const secret: Secret = {
    metadata: { name: "web", namespace: "shop", uid: "u", resourceVersion: "1" },
    data: { "tls.crt": base64(cert), "tls.key": base64(key) },
  };
  const contents = new ReadSecret(secret).contents("tls");
  assert.ok(contents.ok);
  const need = { id, namespace: "shop", name: "web", kind: "tls", field: "spec.tls[0].secretName" } as const;
  return { kind: "row", need, contents: contents.value };
}

/** Rows, and what was given on of them. */
function renderer() {
  const given = new Map<string, FleetValue>();
  const sink = {
    set: (key: string, value: FleetValue) => void given.set(key, value),
    remove: (key: string) => void given.delete(key),
  };
  return { given, rows: new SecretRows("default", fleetKey, sink, { clock: new ManualClock() }) };
}

test("what the holder sealed while a standby was sealing the same is what the standby takes over", async () => {
  const [holder, standby] = [renderer(), renderer()];
  const want = await certificateWant();
  holder.rows.current();
  await holder.rows.change(new Map([[id, want]]), undefined);
  const sealed = holder.given.get(row) as SecretRow;
  const sealing = standby.rows.change(new Map([[id, want]]), undefined);
  standby.rows.note(row, sealed);
  await sealing;
  assert.deepEqual(standby.given.get(row), sealed);
});

test("what is sealed already is not sealed again", async () => {
  const [holder, standby] = [renderer(), renderer()];
  const want = await certificateWant();
  await holder.rows.change(new Map([[id, want]]), undefined);
  const sealed = holder.given.get(row) as SecretRow;
  standby.rows.note(row, sealed);
  await standby.rows.change(new Map([[id, want]]), undefined);
  assert.deepEqual(standby.given.get(row), sealed);
});

test("what was sealed of another content is not taken for it", async () => {
  const [holder, standby] = [renderer(), renderer()];
  await holder.rows.change(new Map([[id, await certificateWant()]]), undefined);
  const other = holder.given.get(row) as SecretRow;
  const want = await certificateWant();
  const sealing = standby.rows.change(new Map([[id, want]]), undefined);
  standby.rows.note(row, other);
  await sealing;
  const made = standby.given.get(row) as SecretRow;
  assert.equal(made.chain, want.kind === "row" ? want.contents.chain : undefined);
  assert.notDeepEqual(made.sealed, other.sealed);
});
