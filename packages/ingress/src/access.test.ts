import assert from "node:assert/strict";
import { test } from "node:test";
import { type AuthRequest, decode, PathPolicy } from "@sluice/contracts";
import fc from "fast-check";
import { type AccessPolicy, admitted } from "./access.ts";
import { MAX_RANGES, ranges } from "./access-values.ts";
import { accessAnnotations } from "./annotations/access.ts";
import { limitAnnotations } from "./annotations/limits.ts";
import type { CompiledPath } from "./compile-ingress.ts";
import { type LimitPolicy, limited } from "./limits.ts";

const object = { namespace: "shop", name: "web" };
const path = (host = "shop.example.test"): CompiledPath => ({
  host,
  type: "Prefix",
  path: "/",
  written: "/",
  regex: false,
  backend: { kind: "service", name: "cart", port: { number: 80 } },
  field: "",
  fallback: false,
  policy: {},
});

function said<Said>(
  all: typeof accessAnnotations | typeof limitAnnotations,
  texts: Readonly<Record<string, string>>,
): Said {
  const found = {};
  for (const [name, text] of Object.entries(texts)) {
    const reading = all.find((each) => each.name === name)?.read(text);
    assert.ok(reading?.ok === true, `${name}: ${text}`);
    Object.assign(found, reading.said);
  }
  return found as Said;
}

function authOf(texts: Readonly<Record<string, string>>, host?: string): AuthRequest {
  const { paths, problem } = admitted([path(host)], said<AccessPolicy>(accessAnnotations, texts), object);
  assert.equal(problem, null);
  const auth = paths[0]?.policy.auth;
  assert.ok(auth !== undefined);
  return auth;
}

const braced = (name: string) => ["$", "{", name, "}"].join("");

const textOf = (template: AuthRequest["target"] | undefined) =>
  (template ?? []).map((part) => ("text" in part ? part.text : `{${part.variable}}`)).join("");

test("auth-url names who is asked, by name, by address, or as the host of the rule", () => {
  const where = (url: string) => {
    const { secure = false, host, port, target } = authOf({ "auth-url": url });
    return [secure, host, port, textOf(target)];
  };
  assert.deepEqual(where("http://auth.example.test"), [false, "auth.example.test", 80, "/"]);
  assert.deepEqual(where("https://Auth.example.test/a?b"), [true, "auth.example.test", 443, "/a?b"]);
  assert.deepEqual(where("http://10.0.0.1:4180?x=$request_uri"), [
    false,
    "10.0.0.1",
    4180,
    "/?x={request_uri}",
  ]);
  assert.deepEqual(where("http://[fd00::1]:80/"), [false, "fd00::1", 80, "/"]);
  assert.deepEqual(where("https://$host/oauth2/auth"), [true, "shop.example.test", 443, "/oauth2/auth"]);
  assert.deepEqual(where(`https://${braced("best_http_host")}:8443/x`), [
    true,
    "shop.example.test",
    8443,
    "/x",
  ]);
  assert.deepEqual(where(`http://a.test/$namespace/$ingress_name/${braced("service_name")}x`), [
    false,
    "a.test",
    80,
    "/shop/web/cartx",
  ]);
});

test("auth-signin gets the way back, unless it says it itself", () => {
  const signin = (url: string, more = {}) =>
    textOf(authOf({ "auth-url": "http://a.test", "auth-signin": url, ...more }).signin);
  const back = "{scheme}://{http_host}{escaped_request_uri}";
  assert.equal(signin("https://a.test/start"), `https://a.test/start?rd=${back}`);
  assert.equal(signin("https://a.test/start?x=1"), `https://a.test/start?x=1&rd=${back}`);
  assert.equal(
    signin("https://$host/start?rd=$escaped_request_uri"),
    "https://{host}/start?rd={escaped_request_uri}",
  );
  assert.equal(signin("https://a.test/start?rd="), `https://a.test/start?rd=&rd=${back}`);
  assert.equal(signin("/start"), `/start?rd=${back}`);
  assert.equal(signin("/start", { "auth-signin-redirect-param": "next" }), `/start?next=${back}`);
});

test("a list of addresses is read whole or not at all", () => {
  const list = (text: string) => {
    const reading = ranges.read(text);
    return reading.ok ? reading.value : null;
  };
  assert.deepEqual(list("10.0.0.1, 10.0.0.5/8,2001:db8::/32 ,::1,10.0.0.1"), [
    "10.0.0.1/32",
    "10.0.0.5/8",
    "2001:db8::/32",
    "::1/128",
  ]);
  for (const bad of [
    "",
    ",",
    "10.0.0.0/8,",
    "10.0.0.0/33",
    "10.0.0",
    "010.0.0.1",
    "fe80::1%eth0",
    "shop",
    "10.0.0.0/8;deny all",
  ]) {
    assert.equal(list(bad), null, bad);
  }
  const many = Array.from({ length: MAX_RANGES + 1 }, (_, i) => `10.${i >> 16}.${(i >> 8) & 255}.${i & 255}`);
  assert.equal(list(many.slice(1).join(","))?.length, MAX_RANGES);
  assert.equal(list(many.join(",")), null);
});

test("more ranges than a row can hold for all its paths are a problem, which says how many", () => {
  const denylist = Array.from({ length: 9000 }, (_, i) => `10.0.${i >> 8}.${i & 255}/32`);
  assert.equal(admitted([path(), path()], { denylist }, object).problem, null);
  assert.match(
    admitted([path(), path(), path()], { denylist }, object).problem ?? "",
    /9000 ranges for 3 paths/,
  );
});

test("whatever is written of who may come in and how often, the policy is one that readers take", () => {
  const text = fc.oneof(
    fc.string(),
    fc.string({ unit: "binary" }),
    fc.webUrl({ withQueryParameters: true, withFragments: true }),
    fc
      .array(
        fc.oneof(
          fc.ipV4(),
          fc.ipV6(),
          fc.tuple(fc.ipV4(), fc.nat(40)).map((pair) => pair.join("/")),
        ),
      )
      .map(String),
    fc.constantFrom(
      "http://$host/",
      "http://a.test/$uri",
      "http://a.test/\r\nX: y",
      "http://user@a.test/",
      "http://a.test:0/",
      "http://a.test#x",
      "http://[::1",
      "http://[::1]:80/$args",
      "http://a..test/",
      "http://169.254.169.254/latest",
      "javascript:alert(1)",
      "//evil.example.test",
      "/\\evil",
      "X-User, X-Groups",
      "X-User: x",
      '"; deny all; "',
      "users",
      "other/users",
      "basic",
      "auth-map",
      "any",
      "1e3",
      "-1",
    ),
  );
  const all = [...accessAnnotations, ...limitAnnotations].map(({ name }) => name);
  fc.assert(
    fc.property(fc.dictionary(fc.constantFrom(...all), text), (given) => {
      const access: AccessPolicy = {};
      const limits: LimitPolicy = {};
      for (const [name, value] of Object.entries(given)) {
        for (const [of, into] of [
          [accessAnnotations, access],
          [limitAnnotations, limits],
        ] as const) {
          const reading = of.find((each) => each.name === name)?.read(value);
          if (reading?.ok === true) Object.assign(into, reading.said);
        }
      }
      const { paths } = admitted(limited([path()], limits, "shop/web"), access, object);
      for (const { policy } of paths) {
        decode(PathPolicy, policy, "policy");
        const { auth } = policy;
        if (auth !== undefined) assert.match(textOf(auth.target), /^\/[\x21-\x7e]*$/);
      }
    }),
    { numRuns: 1000 },
  );
});

test("limits of an object count under its name, each with its burst", () => {
  const limits = said<LimitPolicy>(limitAnnotations, {
    "limit-rps": "10",
    "limit-rpm": "100",
    "limit-burst-multiplier": "3",
    "limit-connections": "7",
    "limit-whitelist": "10.0.0.0/8",
    "limit-rate": "5",
    "limit-rate-after": "2",
  });
  const [{ policy } = path()] = limited([path()], limits, "shop/web");
  assert.deepEqual(policy.limits, {
    of: "shop/web",
    rates: [
      { requests: 10, seconds: 1, burst: 30 },
      { requests: 100, seconds: 60, burst: 300 },
    ],
    connections: 7,
    except: ["10.0.0.0/8"],
    bytesPerSecond: 5120,
    freeBytes: 2048,
  });
  for (const none of [{}, { perSecond: 0, connections: 0 }, { rateAfter: 5 }, { except: ["10.0.0.0/8"] }]) {
    assert.equal(limited([path()], none, "shop/web")[0]?.policy.limits, undefined);
  }
});
