import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { test } from "node:test";
import fc from "fast-check";
import { readAnnotations } from "../read-annotations.ts";
import { bounded } from "../verdict.ts";
import { type ConfigKey, configKeys, findConfigKey } from "./keys.ts";
import { readConfig } from "./read-config.ts";

const page = new URL("../../../../docs/reference/configmap.md", import.meta.url);
const of = { namespace: "shop", name: "config" };
const configOf = (data: object) => readConfig(of, { metadata: of, data });
const annotations = (given: Readonly<Record<string, string>>) =>
  new Map(Object.entries(given).map(([name, value]) => [`nginx.ingress.kubernetes.io/${name}`, value]));

function render(): string {
  const kind = <K extends ConfigKey["kind"]>(which: K) =>
    configKeys.filter((key): key is Extract<ConfigKey, { kind: K }> => key.kind === which);
  const defaults = kind("default").map(({ name, annotation }) => `| \`${name}\` | \`${annotation}\` |`);
  return [
    "# ConfigMap",
    "",
    "What ingress-nginx's users say of all objects in its ConfigMap. `--configmap NAMESPACE/NAME` of config-renderer names it, in",
    "the hub; a change of it acts as a change of the objects would. While it cannot be read nothing is published that is not",
    "published already. A key that does not act is reported by a Warning Event on the ConfigMap.",
    "",
    "## Keys that stand for an annotation",
    "",
    "What an object has that does not say it itself; values, and what holds when nobody says anything, as in",
    "[annotations](annotations.md). A key whose annotation is not there is not supported yet. A value of another shape is reported",
    "(`ConfigMapInvalid`); where it protects, objects without their own answer 503 (`ProtectionRefused`). An object with an auth-url",
    'of its own, or with `enable-global-auth: "false"`, has nothing of `global-auth-*`.',
    "",
    "| key | annotation |",
    "|---|---|",
    ...defaults,
    "",
    "## Keys of their own",
    "",
    "| key | value | |",
    "|---|---|---|",
    ...kind("model").map(({ name, shape, note }) => `| \`${name}\` | ${shape} | ${note} |`),
    "",
    "## Keys with one value",
    "",
    "Another value is reported (`ConfigMapIgnored`).",
    "",
    "| key | value | |",
    "|---|---|---|",
    ...kind("fixed").map(({ name, value, why }) => `| \`${name}\` | ${value} | ${why} |`),
    "",
    "## Keys that are not used",
    "",
    "They are reported (`ConfigMapIgnored`). Where one asks for protection (a snippet does if it holds deny, allow, `auth_*`, return,",
    "`access_by_lua*` or `ssl_verify_client`), all objects answer 503 until it is taken away.",
    "",
    "| key | what to use instead, or why not | |",
    "|---|---|---|",
    ...kind("refused").map(
      ({ name, why, protects }) => `| \`${name}\` | ${why} | ${protects === undefined ? "" : "protects"} |`,
    ),
    "",
  ].join("\n");
}

test("docs/reference/configmap.md is made from the table", () => {
  if (process.env["UPDATE_DOCS"] === "1") writeFileSync(page, render());
  assert.equal(readFileSync(page, "utf8"), render());
});

test("no key is hidden by a pattern before it", () => {
  for (const key of configKeys) assert.equal(findConfigKey(key.name.replaceAll("*", "zz")), key, key.name);
});

function arePaths(text: string): boolean {
  const given = text.split(",").filter((each) => each.trim() !== "");
  return given.length > 0 && given.every((each) => each.trim().startsWith("/"));
}

test("whatever a ConfigMap holds, each key acts or is told of", () => {
  const names = fc.oneof(
    fc.constantFrom(...configKeys.map(({ name }) => name.replaceAll("*", "x"))),
    // As an API server lets keys through.
    fc.stringMatching(/^[-._a-zA-Z0-9]{1,40}$/),
  );
  const values = fc.oneof(
    fc.string(),
    fc.constantFrom(
      "/a, /b",
      "true",
      "false",
      "8m",
      "120",
      "on",
      "off",
      "192.0.2.0/24",
      "error timeout",
      "deny all;",
      "round_robin",
    ),
    fc.anything(),
  );
  fc.assert(
    fc.property(fc.dictionary(names, values, { maxKeys: 6 }), (data) => {
      const { verdicts, defaults } = configOf(data);
      const told = new Set<string>();
      for (const { message } of verdicts) {
        const [, one, many = ""] = /^data(?:\[([^\]]+)\]|: not used: ([^:]+): )/.exec(message) ?? [];
        for (const key of one === undefined ? many.split(", ") : [one]) told.add(key);
      }
      for (const [key, value] of Object.entries(data)) {
        if (typeof value !== "string" || value.trim() === "") continue;
        const known = findConfigKey(key);
        const acts =
          (known?.kind === "default" && defaults.texts.has(known.annotation)) ||
          (known?.kind === "model" && (key.endsWith("blocklist") || arePaths(value))) ||
          (known?.kind === "fixed" && value.trim() === known.value);
        assert.notEqual(acts, told.has(key), `${key}: ${JSON.stringify(value)}`);
      }
      for (const { message } of bounded(verdicts)) assert.ok(message.length < 1024);
      assert.doesNotThrow(() => readAnnotations(annotations({ "proxy-body-size": "1m" }), defaults));
    }),
    { numRuns: 500 },
  );
});

test("a service that all are asked by goes as a whole where an object has its own, or says that it is not asked", () => {
  const { defaults, verdicts } = configOf({
    "global-auth-url": "https://auth.example.test/all",
    "global-auth-signin": "https://auth.example.test/signin",
    "global-auth-response-headers": "X-User",
  });
  assert.deepEqual(verdicts, []);
  const access = (given: Readonly<Record<string, string>>) =>
    readAnnotations(annotations(given), defaults).policies.access;
  assert.equal(access({}).authUrl?.host, "auth.example.test");
  assert.equal(access({}).signin !== undefined, true);
  const own = access({ "auth-url": "https://own.example.test/" });
  assert.equal(own.authUrl?.host, "own.example.test");
  assert.deepEqual([own.signin, own.authHeaders], [undefined, undefined]);
  assert.equal(access({ "enable-global-auth": "false" }).authUrl, undefined);
  assert.equal(access({ "enable-global-auth": "perhaps" }).authUrl?.host, "auth.example.test");
});

test("a global auth-url that cannot be read closes who would be asked, and nobody else", () => {
  const { defaults } = configOf({ "global-auth-url": "auth.example.test" });
  const closed = (given: Readonly<Record<string, string>>) =>
    readAnnotations(annotations(given), defaults).protection.length > 0;
  assert.equal(closed({}), true);
  assert.equal(closed({ "auth-url": "https://own.example.test/" }), false);
  assert.equal(closed({ "enable-global-auth": "false" }), false);
});
