import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { decode, Sealed, SealedError } from "@sluice/contracts";
import fc from "fast-check";
import {
  type FleetPrivateKey,
  type FleetPublicKey,
  readPrivateKey,
  readPublicKey,
  writeFleetKey,
} from "./fleet-key.ts";
import { openSealed, seal } from "./seal.ts";

const folder = await mkdtemp(join(tmpdir(), "sluice-seal-"));
after(() => rm(folder, { recursive: true }));

async function pairIn(name: string): Promise<{ pub: FleetPublicKey; priv: FleetPrivateKey }> {
  const { privateFile, publicFile } = await writeFleetKey(join(folder, name));
  return { pub: await readPublicKey(publicFile), priv: await readPrivateKey(privateFile) };
}

const old = await pairIn("old");
const now = await pairIn("now");

test("what was sealed is opened by the key that it names, whatever other keys a proxy has", async () => {
  const contents = { key: "-----BEGIN PRIVATE KEY-----\n…" };
  for (const { pub } of [old, now]) {
    const sealed = await seal(pub, "default", "shop-web-tls", contents);
    assert.equal(sealed.key, pub.id);
    assert.deepEqual(await openSealed([old.priv, now.priv], "default", "shop-web-tls", sealed), contents);
  }
});

test("a proxy that lacks the key is told which one, and what to do", async () => {
  const sealed = await seal(now.pub, "default", "shop-web-tls", { key: "k" });
  await assert.rejects(openSealed([old.priv], "default", "shop-web-tls", sealed), (error: unknown) => {
    assert.ok(error instanceof SealedError);
    for (const part of ["shop-web-tls", now.pub.id, old.pub.id, "--fleet-key"]) {
      assert.ok(error.message.includes(part), part);
    }
    return true;
  });
  await assert.rejects(openSealed([], "default", "shop-web-tls", sealed), SealedError);
});

test("a box opens in its own fleet and at its own id alone", async () => {
  const sealed = await seal(now.pub, "default", "shop-web-tls", { key: "k" });
  for (const [fleet, id] of [
    ["other", "shop-web-tls"],
    ["default", "shop-api-tls"],
    ["defaultshop", "-web-tls"],
  ] as const) {
    await assert.rejects(openSealed([now.priv], fleet, id, sealed), SealedError);
  }
});

test("two sealings of one text have nothing in common", async () => {
  const [a, b] = await Promise.all([0, 1].map(() => seal(now.pub, "default", "a", { key: "k" })));
  assert.notEqual(a?.box.slice(0, 20), b?.box.slice(0, 20));
});

test("a box that was changed anywhere does not open, and no message quotes what is in it", async () => {
  const sealed = await seal(now.pub, "default", "a", { key: "sentinel", users: { jane: "sentinel" } });
  decode(Sealed, sealed, "sealed");
  const raw = Buffer.from(sealed.box, "base64");
  assert.ok(!raw.includes("sentinel"));
  await fc.assert(
    fc.asyncProperty(
      fc.nat(raw.length - 1),
      fc.integer({ min: 1, max: 255 }),
      fc.nat(8),
      async (at, by, cut) => {
        const bent = Buffer.from(raw.subarray(0, raw.length - cut));
        if (at < bent.length) bent[at] = (bent[at] as number) ^ by;
        else if (cut === 0) return;
        await assert.rejects(
          openSealed([now.priv], "default", "a", { ...sealed, box: bent.toString("base64") }),
          (error: unknown) =>
            error instanceof SealedError && !error.stack?.includes("sentinel") && !error.cause,
        );
      },
    ),
    { numRuns: 200 },
  );
});

test("whatever is sealed comes back as it was", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.record({ key: fc.string(), users: fc.dictionary(fc.string(), fc.string()) }, { requiredKeys: [] }),
      fc.stringMatching(/^[0-9a-z-]{1,128}$/),
      async (contents, id) => {
        const sealed = await seal(now.pub, "fleet", id, contents);
        const opened = await openSealed([now.priv], "fleet", id, sealed);
        assert.equal(JSON.stringify(opened), JSON.stringify(contents));
      },
    ),
    { numRuns: 100 },
  );
});

test("a box that an earlier version sealed opens", async () => {
  // Made for this test; no fleet has this key.
  const jwk = {
    kty: "OKP",
    crv: "X25519",
    x: "bMR8b0I2Qs5Laj3-zrCzLd67yvN2SMoCHw0nidvaIyg",
    d: "eD1OvUW62ZIqEiFuXXHia0c3b4cPlX6fkX4GHqL3R1g",
  };
  const sealed = {
    key: "CAU0Zb0EiEfB5ZDaNrv7-QgRD3MAEfOZqZTFuP7Eml0",
    box: "rzTi2OGfbT1FlQkSF+fQ2hlsr7JhoRdwhOmA1kqH522t++cIqLsCvPffSrGtdTPBBIZBYZMBLTwKCWEKFaBrVaAc/WKcewM76VHU6u8N0HlF6+rjXVrgB9k=",
  };
  const file = join(folder, "earlier.json");
  await writeFile(file, JSON.stringify(jwk), { mode: 0o600 });
  const opened = await openSealed([await readPrivateKey(file)], "default", "shop-web-tls", sealed);
  assert.deepEqual(opened, { key: "a key", users: { jane: "a hash" } });
});
