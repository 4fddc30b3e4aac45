import assert from "node:assert/strict";
import { test } from "node:test";
import { inspect } from "node:util";
import { decode, SealedContents } from "@sluice/contracts";
import { trialCertificate } from "@sluice/native-tools/testing";
import fc from "fast-check";
import { ReadSecret } from "./secret.ts";
import { readSecretName, type SecretKind, secretId } from "./secret-need.ts";

const base64 = (text: string) => Buffer.from(text).toString("base64");

function secret(data: Readonly<Record<string, string>>): ReadSecret {
  const encoded = Object.fromEntries(Object.entries(data).map(([key, text]) => [key, base64(text)]));
  return new ReadSecret({
    metadata: { name: "s", namespace: "shop", uid: "u", resourceVersion: "7" },
    data: encoded,
  });
}

function usersOf(kind: SecretKind, data: Readonly<Record<string, string>>): unknown {
  const reading = secret(data).contents(kind);
  assert.ok(reading.ok, reading.ok ? "" : reading.why);
  assert.equal(reading.value.version, "u/7");
  return reading.value.sealed?.reveal().users;
}

function why(kind: SecretKind, data: Readonly<Record<string, string>>): string {
  const reading = secret(data).contents(kind);
  assert.ok(!reading.ok);
  return reading.why;
}

test("users are the lines of auth, as nginx reads them", () => {
  const auth = [
    "# who may",
    "jane:$apr1$abc$def",
    "joe:{SHA}xyz:his comment",
    "jane:second",
    "",
    "nobody",
    ":hash",
    "empty:",
    "tab:has\ttab",
    " spaced:x ",
  ].join("\r\n");
  assert.deepEqual(usersOf("users", { auth }), { jane: "$apr1$abc$def", joe: "{SHA}xyz", spaced: "x" });
  assert.match(why("users", { other: auth }), /has no auth/);
});

test("of a user map each key is a user", () => {
  assert.deepEqual(usersOf("user-map", { jane: "$apr1$abc$def\n", joe: "{SHA}xyz" }), {
    jane: "$apr1$abc$def",
    joe: "{SHA}xyz",
  });
  assert.deepEqual(usersOf("user-map", {}), {});
  assert.deepEqual(usersOf("user-map", { "jane\ud800": "x", "\udc00": "x", "\u{1f600}": "x" }), {
    "\u{1f600}": "x",
  });
  // A name of an object's own parts is a name like others.
  assert.deepEqual(Object.entries(usersOf("user-map", { toString: "x" }) as object), [["toString", "x"]]);
});

test("authorities are ca.crt, and one with a list of the revoked is refused", async () => {
  const { cert } = await trialCertificate({ names: ["a.test"] });
  const reading = secret({ "ca.crt": `${cert}${cert}` }).contents("authorities");
  assert.ok(reading.ok);
  assert.equal(reading.value.authorities, `${cert}${cert}`);
  assert.equal(reading.value.sealed, undefined);
  assert.match(why("authorities", { "ca.crt": cert, "ca.crl": "x" }), /ca\.crl is there/);
  assert.match(why("authorities", { "tls.crt": cert }), /has no ca\.crt/);
});

test("what is too large is said to be, by the name of its field", () => {
  const large = "x".repeat(600_000);
  assert.match(why("users", { auth: large }), /auth is larger than 500 kB/);
  assert.match(why("user-map", { jane: large }), /jane is larger than 500 kB/);
  assert.match(why("tls", { "tls.crt": large, "tls.key": "x" }), /tls\.crt is larger than 500 kB/);
  const many = Array.from({ length: 10_001 }, (_, n) => `u${n}:x`).join("\n");
  assert.match(why("users", { auth: many }), /more than 10000 users/);
});

test("a chain that no client would take is refused", async () => {
  const names = Array.from({ length: 1200 }, (_, n) => `host-${n}.with-a-name-of-some-length.example.test`);
  const { cert, key } = await trialCertificate({ names });
  const of = (chain: string) => secret({ "tls.crt": chain, "tls.key": key }).contents("tls");
  assert.ok(of(cert).ok);
  assert.match(why("tls", { "tls.crt": cert.repeat(2), "tls.key": key }), /more than 100 KiB/);
});

test("data that is none is as good as missing", () => {
  for (const data of [undefined, null, 7, "x", [], { auth: 7 }, { auth: null }, { auth: { a: 1 } }]) {
    const read = new ReadSecret({ metadata: { name: "s", namespace: "shop" }, data });
    for (const kind of ["tls", "users", "authorities"] as const) assert.ok(!read.contents(kind).ok);
  }
});

test("whatever a Secret holds, what is sealed of it fits its schema, and nothing of it shows", () => {
  const field = fc.oneof(
    fc.constantFrom("auth", "tls.crt", "tls.key", "ca.crt", "__proto__", "constructor"),
    fc.string(),
  );
  const text = fc.oneof(
    fc.string(),
    fc.string({ unit: "binary" }),
    fc.constantFrom("jane:sentinel-secret", "a:b\nc:d"),
  );
  fc.assert(
    fc.property(fc.array(fc.tuple(field, text), { maxLength: 6 }), (pairs) => {
      const data = Object.fromEntries(pairs.map(([key, value]) => [key, base64(value)]));
      const read = new ReadSecret({ metadata: { name: "s", namespace: "shop" }, data });
      for (const kind of ["tls", "users", "user-map", "authorities"] as const) {
        const reading = read.contents(kind);
        if (reading.ok && reading.value.sealed !== undefined) {
          decode(SealedContents, JSON.parse(JSON.stringify(reading.value.sealed.reveal())), kind);
        }
        assert.ok(!inspect(reading, { depth: 9 }).includes("sentinel-secret"));
        assert.ok(!JSON.stringify([reading, read]).includes("sentinel-secret"));
        assert.ok(!inspect(read, { depth: 9, showHidden: true }).includes("sentinel-secret"));
      }
    }),
    { numRuns: 200 },
  );
});

test("a Secret is named by itself or with its namespace, and never of another one", () => {
  assert.deepEqual(readSecretName("web", "shop"), { ok: true, namespace: "shop", name: "web" });
  assert.deepEqual(readSecretName(" shop/web ", "shop"), { ok: true, namespace: "shop", name: "web" });
  for (const text of ["other/web", "shop/web/x", "", "/", "shop/", "Web", "a b", "../web"]) {
    assert.equal(readSecretName(text, "shop").ok, false, text);
  }
});

test("one Secret has a row for each use, and no two Secrets have one", () => {
  const names = fc.stringMatching(/^[a-z0-9]([-a-z0-9.]{0,8}[a-z0-9])?$/);
  const kinds = fc.constantFrom<SecretKind>("tls", "users", "user-map", "authorities");
  const need = fc.record({ namespace: names, name: names, kind: kinds });
  fc.assert(
    fc.property(need, need, (a, b) => {
      assert.match(secretId(a), /^[0-9a-z-]{1,128}$/);
      const same = a.namespace === b.namespace && a.name === b.name && a.kind === b.kind;
      assert.equal(secretId(a) === secretId(b), same);
    }),
  );
});
