import assert from "node:assert/strict";
import { before, type TestContext, test } from "node:test";
import { defaultSettings, type ProfileSettings } from "@sluice/ingress";
import { grpcBackend, httpsBackend, type TestBackend } from "../testing/backend-world.ts";
import {
  type TestAuthority,
  type TestCertificate,
  testAuthority,
  testCertificate,
} from "../testing/certificates.ts";
import { type CheckSecrets, checkTls } from "./check-tls.ts";
import { networkProbe } from "./probe.ts";

const NAME = "shop.example.test";
const times = { intervalMs: 1000, timeoutMs: 1000, misses: 2, passes: 2 };
let ours: TestAuthority;
let theirs: TestAuthority;
let good: TestCertificate;
let shown: TestCertificate;
let secrets: CheckSecrets;

before(async () => {
  ours = await testAuthority("backends");
  theirs = await testAuthority("others");
  good = await testCertificate(ours, [NAME]);
  shown = await testCertificate(ours, ["client.example.test"], { subject: "CN=shop's proxy" });
  const clients = new Map([["client", { chain: shown.chain, key: shown.key }]]);
  const authorities = new Map([["ours", ours.certificate]]);
  secrets = { authorities: (id) => authorities.get(id), client: (id) => clients.get(id) };
});

const verified = { tlsVerify: true, tlsName: NAME, tlsServerName: true, tlsAuthorities: "ours" } as const;

/** @returns null: the peer passes; else why not */
async function asked(
  kind: "https" | "grpcs",
  { address, port }: TestBackend,
  settings: Partial<ProfileSettings>,
  signal: AbortSignal,
): Promise<string | null> {
  const profile: ProfileSettings = { ...defaultSettings, protocol: kind, ...settings };
  const tls = checkTls(new Map([["a", profile]]), secrets);
  assert.ok(tls !== null);
  try {
    const check = kind === "https" ? { kind, path: "/healthz" } : { kind };
    await networkProbe({ ...times, ...check }, { address, port, tls: tls.options }, signal);
    return null;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

test("https: a check shows what requests show, and wants proved what they want proved", async (t: TestContext) => {
  const right = await httpsBackend(t, "127.25.90.1", { certificate: good });
  const strange = await httpsBackend(t, "127.25.90.2", {
    certificate: await testCertificate(theirs, [NAME]),
  });
  const misnamed = await httpsBackend(t, "127.25.90.3", {
    certificate: await testCertificate(ours, ["other.example.test"]),
  });
  const strict = await httpsBackend(t, "127.25.90.4", { certificate: good, clients: ours.certificate });
  const ask = (peer: TestBackend, settings: Partial<ProfileSettings>) =>
    asked("https", peer, settings, t.signal);
  for (const peer of [right, strange, misnamed]) assert.equal(await ask(peer, {}), null);
  assert.equal(await ask(right, verified), null);
  assert.deepEqual(
    right.seen.map(({ path, name, client }) => [path, name, client]),
    [
      ["/healthz", "", ""],
      ["/healthz", NAME, ""],
    ],
  );
  assert.match((await ask(strange, verified)) ?? "", /unable to|self-signed|certificate/);
  assert.match((await ask(misnamed, verified)) ?? "", /does not match/);
  assert.equal(await ask(strict, { ...verified, tlsClient: "client" }), null);
  assert.equal(strict.seen.at(-1)?.client, "shop's proxy");
  assert.notEqual(await ask(strict, verified), null);
  assert.notEqual(await ask(right, { tlsProtocols: "TLSv1.2", tlsCiphers: "ECDHE-RSA-AES128-SHA" }), null);
  // Each check is a connection of its own, which proves anew.
  assert.deepEqual(new Set(right.seen.map(({ connection }) => connection)).size, right.seen.length);
});

test("grpcs: the same, by HTTP/2", async (t) => {
  const peer = await grpcBackend(t, "127.25.91.1", { certificate: good });
  // It sends the question back, which is no answer: by then TLS has been agreed on.
  const why = "it does not serve";
  assert.equal(await asked("grpcs", peer, {}, t.signal), why);
  assert.equal(await asked("grpcs", peer, verified, t.signal), why);
  assert.equal(peer.seen.at(-1)?.name, NAME);
  const strange = await grpcBackend(t, "127.25.91.2", { certificate: await testCertificate(theirs, [NAME]) });
  assert.notEqual(await asked("grpcs", strange, verified, t.signal), why);
  assert.deepEqual(strange.seen, []);
});

test("of several identities one that wants proof goes first; what is not there yet leaves nobody asked", () => {
  const https: ProfileSettings = { ...defaultSettings, protocol: "https" };
  const strict: ProfileSettings = { ...https, ...verified };
  const of = (...profiles: ProfileSettings[]) =>
    checkTls(new Map(profiles.map((each, i) => [`p${i}`, each])), secrets);
  const verifies = (...profiles: ProfileSettings[]) => of(...profiles)?.options.rejectUnauthorized;
  assert.equal(of(), null);
  assert.equal(verifies(defaultSettings), false);
  assert.equal(verifies(https, strict, defaultSettings), true);
  assert.equal(verifies(strict, https), true);
  assert.equal(of(https, strict)?.id, of(strict)?.id);
  assert.notEqual(of(https)?.id, of(strict)?.id);
  assert.equal(of({ ...strict, tlsAuthorities: "later" }), null);
  assert.equal(of({ ...strict, tlsClient: "later" }), null);
});
