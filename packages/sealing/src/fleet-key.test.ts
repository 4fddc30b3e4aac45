import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { chmod, mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { FleetKeyError } from "@sluice/contracts";
import { makeFleetKey, readPrivateKey, readPublicKey, writeFleetKey } from "./fleet-key.ts";

const folder = await mkdtemp(join(tmpdir(), "sluice-fleet-key-"));
after(() => rm(folder, { recursive: true }));

test("a pair is made once, and only its owner may read the private half", async () => {
  const dir = join(folder, "made");
  const first = await writeFleetKey(dir);
  const again = await writeFleetKey(dir);
  assert.deepEqual(again, first);
  assert.equal((await stat(first.privateFile)).mode & 0o777, 0o600);
  assert.equal((await stat(dir)).mode & 0o777, 0o700);
  const [priv, pub] = [await readPrivateKey(first.privateFile), await readPublicKey(first.publicFile)];
  assert.equal(priv.id, first.id);
  assert.equal(pub.id, first.id);
  assert.doesNotMatch(await readFile(first.publicFile, "utf8"), /"d"/);
});

test("a key's id is its thumbprint by RFC 7638", async () => {
  const { publicJwk } = makeFleetKey();
  const file = join(folder, "thumbprint.json");
  await writeFile(file, JSON.stringify({ use: "enc", ...JSON.parse(publicJwk), kid: "mine" }));
  const { x } = JSON.parse(publicJwk) as { x: string };
  const text = `{"crv":"X25519","kty":"OKP","x":"${x}"}`;
  assert.equal((await readPublicKey(file)).id, createHash("sha256").update(text).digest("base64url"));
});

test("the public half that is lost is made of the private one", async () => {
  const dir = join(folder, "lost");
  const { publicFile, id } = await writeFleetKey(dir);
  await rm(publicFile);
  assert.equal((await writeFleetKey(dir)).id, id);
  assert.equal((await readPublicKey(publicFile)).id, id);
});

test("a file that is no half of a key, or the wrong one, is refused by name and without what is in it", async () => {
  const pair = makeFleetKey();
  const secret = pair.privateJwk.reveal();
  const { d } = JSON.parse(secret) as { d: string };
  const bad: Record<string, [string, RegExp, (file: string) => Promise<unknown>]> = {
    "private for the renderer": [secret, /belongs to proxies/, readPublicKey],
    "public for a proxy": [pair.publicJwk, /need the private one/, readPrivateKey],
    "no JSON": [`${secret}x`, /holds no X25519 key/, readPrivateKey],
    "another curve": [secret.replace("X25519", "Ed25519"), /holds no X25519 key/, readPrivateKey],
    "half of a half": [secret.replace(d, d.slice(1)), /holds no X25519 key/, readPrivateKey],
    "halves of two pairs": [
      secret.replace(d, (JSON.parse(makeFleetKey().privateJwk.reveal()) as { d: string }).d),
      /halves of two|no usable X25519 key/,
      readPrivateKey,
    ],
    "very long": [secret.padEnd(100_000), /holds no X25519 key/, readPrivateKey],
    empty: ["", /holds no X25519 key/, readPublicKey],
    null: ["null", /holds no X25519 key/, readPublicKey],
  };
  for (const [name, [text, why, read]] of Object.entries(bad)) {
    const file = join(folder, "bad.json");
    await writeFile(file, text, { mode: 0o600 });
    await chmod(file, 0o600);
    await assert.rejects(read(file), (error: unknown) => {
      assert.ok(error instanceof FleetKeyError, name);
      assert.match(error.message, why, name);
      assert.ok(error.message.includes(file), name);
      assert.ok(!JSON.stringify([error.message, error.stack, error.cause]).includes(d.slice(1)), name);
      return true;
    });
  }
  await assert.rejects(readPublicKey(join(folder, "missing.json")), FleetKeyError);
});

test("a private key that everybody may read is refused", async () => {
  const { privateFile } = await writeFleetKey(join(folder, "open"));
  await chmod(privateFile, 0o644);
  await assert.rejects(readPrivateKey(privateFile), /may be read by everybody/);
});
