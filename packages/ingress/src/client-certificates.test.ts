import assert from "node:assert/strict";
import { test } from "node:test";
import type { ProfileRow, RouteRow } from "@sluice/contracts";
import { trialAuthority } from "@sluice/native-tools/testing";
import { buildFleet } from "./build-fleet.ts";
import type { FleetOptions } from "./fleet-model.ts";
import type { MultiClusterIngress } from "./objects.ts";
import { ReadSecret } from "./secret.ts";
import { type WebIngress, webIngress } from "./testing/web-ingress.ts";

const HOST = "web.example.test";
const authority = await trialAuthority();
const options: FleetOptions = {
  fleet: "default",
  ingressClasses: ["nginx"],
  watchWithoutClass: false,
  servesTls: true,
};

type Written = Omit<WebIngress, "hosts"> & { readonly host?: string };

const mci = ({ host = HOST, ...more }: Written) => webIngress({ hosts: [host], ...more });

const authorities = new ReadSecret({
  metadata: { name: "ca", namespace: "shop", uid: "u-ca", resourceVersion: "7" },
  data: { "ca.crt": Buffer.from(authority.cert).toString("base64") },
});

function built(ingresses: readonly MultiClusterIngress[], more: Partial<FleetOptions> = {}) {
  const { rows, verdicts, secrets } = buildFleet(
    {
      ingresses,
      imports: [{ metadata: { name: "web", namespace: "shop" }, spec: { ports: [{ port: 80 }] } }],
      classes: [],
      peers: [],
      exported: new Map(),
      secrets: new Map([
        ["shop/ca", authorities],
        ["shop/other", authorities],
        ["shop/missing", null],
      ]),
      now: Date.parse("2026-06-01T00:00:00Z"),
    },
    { ...options, ...more },
  );
  const route = (host: string) => rows.get(`default.routes.${host.replaceAll(".", "_")}`) as RouteRow;
  const profile = (hash: string) =>
    (rows.get(`default.profiles.${hash}`) as ProfileRow | undefined)?.settings;
  return {
    secrets,
    route,
    /** Each path in short. */
    paths: (host = HOST) =>
      route(host).paths.map((path) => {
        const to = path.redirect?.to ?? path.upstream ?? "503";
        const asked = path.clientCertificate?.verify ?? "open";
        return `${path.path} ${asked} ${JSON.stringify(profile(path.profile))} ${to}`;
      }),
    said: verdicts.map(({ object, reason, message }) => `${object.name} ${reason} ${message}`),
  };
}

const NAMES = '{"clientFacts":"names","guards":true}';

test("an object asks the clients of its host for certificates, on all paths that any object has there", () => {
  const { route, paths, said, secrets } = built([
    mci({ annotations: { "auth-tls-secret": "shop/ca" } }),
    mci({ name: "cart", path: "/cart", annotations: { "proxy-read-timeout": "7" } }),
    mci({ name: "other-host", host: "open.example.test" }),
  ]);
  assert.deepEqual(route(HOST).clients, { authorities: "shop-ca-authorities", depth: 1 });
  assert.deepEqual(paths(), [
    `/ on ${NAMES} shop-web`,
    '/cart on {"clientFacts":"names","guards":true,"readTimeoutMs":7000} shop-web',
  ]);
  assert.deepEqual(paths("open.example.test"), ["/ open {} shop-web"]);
  assert.equal(route("open.example.test").clients, undefined);
  assert.deepEqual(said, []);
  const want = secrets.get("shop-ca-authorities");
  assert.ok(want?.kind === "row" && want.contents.sealed === undefined);
  assert.match(want.contents.authorities ?? "", /BEGIN CERTIFICATE/);
});

test("what else is said of certificates reaches the row", () => {
  const { route, paths } = built([
    mci({
      annotations: {
        "auth-tls-secret": "ca",
        "auth-tls-verify-client": "optional_no_ca",
        "auth-tls-verify-depth": "3",
        "auth-tls-pass-certificate-to-upstream": "true",
        "auth-tls-error-page": "https://login.example.test/",
      },
    }),
  ]);
  assert.equal(route(HOST).clients?.depth, 3);
  assert.deepEqual(route(HOST).paths[0]?.clientCertificate, {
    verify: "optional_no_ca",
    errorPage: "https://login.example.test/",
  });
  assert.deepEqual(paths(), ['/ optional_no_ca {"clientFacts":"whole","guards":true} shop-web']);
});

test("other names of a host ask for the same; a redirect asks nobody", () => {
  const { route, paths } = built([
    mci({ annotations: { "auth-tls-secret": "ca", "server-alias": "alias.example.test" } }),
    mci({ name: "moved", path: "/old", annotations: { "permanent-redirect": "https://example.test/" } }),
  ]);
  assert.deepEqual(route("alias.example.test").clients, route(HOST).clients);
  assert.deepEqual(paths("alias.example.test"), paths());
  assert.deepEqual(paths(), [`/ on ${NAMES} shop-web`, "/old open {} https://example.test/"]);
});

test("what cannot be given closes what asked for it", () => {
  for (const [annotations, why] of [
    [{ "auth-tls-secret": "missing" }, /Secret shop\/missing is missing; create it/],
    [{ "auth-tls-secret": "else/ca" }, /names a Secret of another namespace/],
    [
      { "auth-tls-secret": "ca", "auth-tls-verify-client": "yes" },
      /auth-tls-verify-client .*is not one of on, off/,
    ],
    [{ "auth-tls-secret": "ca", "auth-tls-verify-depth": "deep" }, /auth-tls-verify-depth .*whole number/],
    [{ "auth-tls-verify-client": "on" }, /without auth-tls-secret/],
    [{ "auth-tls-match-cn": "CN=alice" }, /auth-tls-match-cn/],
  ] as const) {
    const { paths, said } = built([mci({ annotations })]);
    assert.equal(said.length, 1, JSON.stringify(annotations));
    assert.match(said[0] ?? "", /^web ProtectionRefused /);
    assert.match(said[0] ?? "", why);
    assert.deepEqual(
      paths().map((path) => path.split(" ").at(-1)),
      ["503"],
    );
  }
  const keyless = built([mci({ annotations: { "auth-tls-secret": "ca" } })], { servesTls: false });
  assert.match(keyless.said.join(), /ProtectionRefused .*--fleet-key/);
  assert.deepEqual(
    keyless.paths().map((path) => path.split(" ").at(-1)),
    ["503"],
  );
  const off = built([mci({ annotations: { "auth-tls-secret": "ca", "auth-tls-verify-client": "off" } })]);
  assert.deepEqual([off.paths(), off.said], [["/ open {} shop-web"], []]);
});

test("of several objects that ask the oldest decides, and another one that asks for something else is closed", () => {
  const ca = { "auth-tls-secret": "ca" };
  const { route, paths, said } = built([
    mci({ name: "young", path: "/young", year: 2026, annotations: { "auth-tls-secret": "other" } }),
    mci({ name: "same", path: "/same", year: 2025, annotations: ca }),
    mci({ name: "old", path: "/old", year: 2024, annotations: ca }),
  ]);
  assert.equal(route(HOST).clients?.authorities, "shop-ca-authorities");
  assert.deepEqual(paths(), [
    `/old on ${NAMES} shop-web`,
    `/same on ${NAMES} shop-web`,
    `/young on ${NAMES} 503`,
  ]);
  assert.equal(said.length, 1);
  assert.match(said[0] ?? "", /^young ProtectionRefused .*MultiClusterIngress shop\/old decides/);
});
