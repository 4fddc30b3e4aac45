import assert from "node:assert/strict";
import { createPrivateKey, generateKeyPairSync } from "node:crypto";
import { test } from "node:test";
import { inspect } from "node:util";
import { trialCertificate } from "@sluice/native-tools/testing";
import fc from "fast-check";
import { readAuthorities, readCertificate } from "./certificate.ts";
import { pemBlocks } from "./pem.ts";

const DAY_MS = 86_400_000;
const web = await trialCertificate({ names: ["web.example.test", "*.shop.example.test"] });
const other = await trialCertificate({ names: ["other.example.test"] });

function why(crt: string, key: string): string {
  const reading = readCertificate(crt, key);
  assert.ok(!reading.ok);
  return reading.why;
}

test("RSA and ECDSA keys are taken in every form in which people write them", async () => {
  const rsa = await trialCertificate({ names: ["web.example.test"], kind: "rsa" });
  const pkcs1 = createPrivateKey(rsa.key).export({ type: "pkcs1", format: "pem" }) as string;
  const sec1 = createPrivateKey(web.key).export({ type: "sec1", format: "pem" }) as string;
  const parameters = "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n";
  for (const [cert, key] of [
    [rsa.cert, rsa.key],
    [rsa.cert, pkcs1],
    [web.cert, web.key],
    [web.cert, `${parameters}${sec1}`],
    [web.cert.replaceAll("\n", "\r\n"), web.key.replaceAll("\n", "\r\n")],
    [`subject=CN = web\n\n${web.cert}`, ` ${web.key}`],
  ] as const) {
    const reading = readCertificate(cert, key);
    assert.ok(reading.ok);
    assert.match(reading.value.key.reveal(), /^-----BEGIN PRIVATE KEY-----\n/);
  }
});

test("what a certificate is shown with is written anew, the leaf first", () => {
  const reading = readCertificate(`${web.cert}sentinel\n${other.cert}`, web.key);
  assert.ok(reading.ok);
  const { chain, notBefore, notAfter } = reading.value;
  assert.equal(chain, `${web.cert}${other.cert}`.replaceAll(/\n(?=-----END)/g, "\n"));
  assert.ok(notBefore < Date.now() && notAfter > Date.now() + 29 * DAY_MS);
});

test("a host is covered by its name, by a wildcard of one label, and by nothing else", () => {
  const reading = readCertificate(web.cert, web.key);
  assert.ok(reading.ok);
  const { covers } = reading.value;
  const asked = {
    "web.example.test": true,
    "a.shop.example.test": true,
    "*.shop.example.test": true,
    "shop.example.test": false,
    "a.b.shop.example.test": false,
    "*.example.test": false,
    "*.web.example.test": false,
    "other.example.test": false,
    "": false,
  };
  for (const [host, is] of Object.entries(asked)) assert.equal(covers(host, true), is, host);
});

test("a common name counts only where there is no other, and only where it is asked for", async () => {
  const named = await trialCertificate({ names: [], commonName: "web.example.test" });
  const both = await trialCertificate({ names: ["a.example.test"], commonName: "web.example.test" });
  const [byName, notByName] = [readCertificate(named.cert, named.key), readCertificate(both.cert, both.key)];
  assert.ok(byName.ok && notByName.ok);
  assert.equal(byName.value.covers("web.example.test", true), true);
  assert.equal(byName.value.covers("web.example.test", false), false);
  assert.equal(notByName.value.covers("web.example.test", true), false);
});

test("what cannot be used says why, and nothing of what it is", async () => {
  const small = await trialCertificate({ names: ["web.example.test"], kind: "rsa", bits: 1024 });
  const odd = generateKeyPairSync("ed448").privateKey;
  const encrypted = createPrivateKey(web.key).export({
    type: "pkcs8",
    format: "pem",
    cipher: "aes-256-cbc",
    passphrase: "sentinel",
  }) as string;
  const bent = web.cert.replace(/\n.{10}/, "\nAAAAAAAAAA");
  const cases: readonly [string, string, string, RegExp][] = [
    ["no certificate", "", web.key, /tls\.crt holds no certificate/],
    ["a key as certificate", web.key, web.key, /tls\.crt holds no certificate/],
    ["no key", web.cert, "", /tls\.key holds no private key/],
    ["a certificate as key", web.cert, web.cert, /tls\.key holds no private key/],
    ["another's key", web.cert, other.key, /is not the key of the first certificate/],
    ["the chain in the wrong order", `${other.cert}${web.cert}`, web.key, /is not the key of the first/],
    ["an encrypted key", web.cert, encrypted, /is encrypted/],
    ["a key of another kind", web.cert, odd.export({ type: "pkcs8", format: "pem" }) as string, /of a kind/],
    ["a small key", small.cert, small.key, /has 1024 bits/],
    ["a bent certificate", bent, web.key, /certificate 1 cannot be read/],
    ["a bent second one", `${web.cert}${bent}`, web.key, /certificate 2 cannot be read/],
    ["a bent key", web.cert, web.key.replace(/\n.{10}/, "\nAAAAAAAAAA"), /tls\.key cannot be read/],
    ["too many", web.cert.repeat(21), web.key, /more than 20/],
  ];
  for (const [name, crt, key, expected] of cases) {
    assert.match(why(crt, key), expected, name);
    for (const line of key.split("\n").filter((text) => text.length > 20)) {
      assert.ok(!why(crt, key).includes(line), name);
    }
  }
});

test("authorities are certificates of anybody", () => {
  const reading = readAuthorities(`${web.cert}\n${other.cert}`);
  assert.deepEqual(reading, { ok: true, value: `${web.cert}${other.cert}` });
  assert.ok(!readAuthorities("none").ok);
});

test("a PEM text is cut into blocks in one go, however it was made", () => {
  const blocks = pemBlocks("-----BEGIN A-----\nx\n-----END A-----\n-----BEGIN B-----\n-----END A-----", 9);
  assert.deepEqual(blocks, [{ label: "A", text: "-----BEGIN A-----\nx\n-----END A-----\n" }]);
  const hostile = "-----BEGIN CERTIFICATE-----".repeat(20_000);
  assert.deepEqual(pemBlocks(hostile, 100), []);
  assert.equal(pemBlocks(web.cert.repeat(5), 2).length, 2);
});

test("whatever PEM soup is given, there is a certificate or a reason, and the key shows nowhere", () => {
  const piece = fc.oneof(
    fc.constantFrom(web.cert, web.key, other.cert, other.key, "-----BEGIN ", "-----END ", "-----", "\n"),
    fc.constantFrom(
      "CERTIFICATE",
      "PRIVATE KEY",
      "RSA PRIVATE KEY",
      "\0",
      "ﬀ",
      "-----BEGIN CERTIFICATE-----\n",
    ),
    fc.string({ maxLength: 40 }),
    fc
      .tuple(fc.constantFrom(web.cert, web.key), fc.nat(200), fc.nat(200))
      .map(([text, from, to]) => text.slice(from, from + to)),
  );
  const soup = fc.array(piece, { maxLength: 6 }).map((pieces) => pieces.join(""));
  const secret = web.key.split("\n")[1] as string;
  fc.assert(
    fc.property(soup, soup, (crt, key) => {
      const reading = readCertificate(crt, key);
      const shown = inspect(reading, { depth: 9 }) + JSON.stringify(reading);
      assert.ok(!shown.includes(secret));
      if (!reading.ok) assert.match(reading.why, /^tls\.(crt|key)/);
      else assert.ok([web.key, other.key].includes(reading.value.key.reveal()));
    }),
    { numRuns: 500 },
  );
});
