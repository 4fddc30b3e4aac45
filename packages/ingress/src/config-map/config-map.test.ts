import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { test } from "node:test";
import fc from "fast-check";
import { isAnswerHeader } from "../answer-headers.ts";
import { FleetModel } from "../fleet-model.ts";
import { readListenerSettings } from "../listener-settings.ts";
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
    "## Keys of listeners",
    "",
    "They hold for all proxies of the fleet. A change of one reloads nginx, one proxy first ([rollout](rollout.md)); one with which",
    "that proxy does not answer is taken back and told on the ConfigMap (`SettingRefused`), and no other proxy tries it. What a",
    "process is told by a flag of its own ([proxy-agent](../../services/proxy-agent)) goes first there. A value of another shape is",
    "reported (`ConfigMapInvalid`), and what holds when nobody says anything holds.",
    "",
    "| key | value | unsaid | |",
    "|---|---|---|---|",
    ...kind("setting").map(
      ({ name, value, unsaid, note }) => `| \`${name}\` | ${value.shape} | ${unsaid} | ${note} |`,
    ),
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

function areHeaders(text: string): boolean {
  const given = text.split(",").filter((each) => each.trim() !== "");
  return given.length > 0 && given.every((each) => isAnswerHeader(each.trim()));
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
      "TLSv1.2",
      "4 8k",
      "1h 30m",
      "X-Client",
    ),
    fc.anything(),
  );
  fc.assert(
    fc.property(fc.dictionary(names, values, { maxKeys: 6 }), (data) => {
      const { verdicts, defaults, settings } = configOf(data);
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
          (known?.kind === "setting" && known.value.read(value).ok) ||
          (known?.kind === "model" &&
            (key.endsWith("blocklist") || (key.endsWith("headers") ? areHeaders(value) : arePaths(value)))) ||
          (known?.kind === "fixed" && value.trim() === known.value);
        assert.notEqual(acts, told.has(key), `${key}: ${JSON.stringify(value)}`);
      }
      assert.deepEqual(readListenerSettings(settings), { settings, problems: [] }, "proxies can read it");
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

test("keys of listeners become settings in one unit each, as ingress-nginx reads them", () => {
  const table: readonly (readonly [key: string, text: string, setting: string, value: unknown])[] = [
    ["keep-alive", "0", "keepAliveMs", 0],
    ["keep-alive-requests", "10", "keepAliveRequests", 10],
    ["client-header-timeout", "15", "headerTimeoutMs", 15_000],
    ["client-header-buffer-size", "2k", "headerBufferBytes", 2048],
    ["large-client-header-buffers", "8  16K", "largeHeaderBuffers", "8 16384"],
    ["worker-shutdown-timeout", "10", "shutdownMs", 10_000],
    ["worker-shutdown-timeout", "1h 30m", "shutdownMs", 5_400_000],
    ["upstream-keepalive-time", "90m", "peerLifeMs", 5_400_000],
    ["ssl-session-timeout", "1d", "tlsSessionSeconds", 86_400],
    ["ssl-protocols", "TLSv1.3 TLSv1.2", "tlsProtocols", "TLSv1.2 TLSv1.3"],
    ["ssl-ecdh-curve", "X25519:P-256", "tlsCurves", "X25519:P-256"],
    ["disable-access-log", "true", "accessLog", false],
    ["disable-access-log", "false", "accessLog", true],
    ["skip-access-log-urls", "/healthz, /ready?full=1,", "unloggedUrls", "/healthz,/ready?full=1"],
    [
      "proxy-real-ip-cidr",
      "192.0.2.1, 10.0.0.0/8,2001:db8::/32",
      "trusted",
      "192.0.2.1/32 10.0.0.0/8 2001:db8::/32",
    ],
    ["forwarded-for-header", "CF-Connecting-IP", "forwardedForHeader", "CF-Connecting-IP"],
    ["use-proxy-protocol", "TRUE", "proxyProtocol", true],
  ];
  for (const [key, text, setting, value] of table) {
    const { settings, verdicts } = configOf({ [key]: text });
    assert.deepEqual([settings, verdicts], [{ [setting]: value }, []], `${key}: ${text}`);
  }
});

test("what nginx would not take, or take for something else, is told and does not act", () => {
  const table: Readonly<Record<string, readonly string[]>> = {
    "keep-alive": ["-1", "1e3", "75s", "3601"],
    "client-header-timeout": ["0"],
    "large-client-header-buffers": ["4", "0 8k", "4 8k;", "4 8k 1", "65 8k"],
    "worker-shutdown-timeout": ["0s", "1y", "10 s", "25h", "h"],
    "ssl-protocols": ["TLSv1", "TLSv1.2;", "SSLv3 TLSv1.2"],
    "ssl-ciphers": ["ALL", "HIGH; return 200", "aNULL"],
    "ssl-ecdh-curve": ["auto:X25519", "nothing"],
    "skip-access-log-urls": ["~^/health", "/a b", "health", "/a;\n/b"],
    "forwarded-for-header": ["X_Forwarded", "$http_x", "X-For;"],
    "use-forwarded-headers": ["yes"],
  };
  for (const [key, given] of Object.entries(table)) {
    for (const text of given) {
      const { settings, verdicts } = configOf({ [key]: text });
      assert.deepEqual(settings, {}, `${key}: ${text}`);
      assert.deepEqual(
        verdicts.map(({ reason }) => reason),
        ["ConfigMapInvalid"],
        `${key}: ${text}`,
      );
    }
  }
});

test("a list of trusted addresses that cannot be read is nobody, not everybody", () => {
  const { settings, verdicts } = configOf({
    "proxy-real-ip-cidr": "10.0.0.0/8, office",
    "use-proxy-protocol": "true",
  });
  assert.deepEqual(settings, { trusted: "", proxyProtocol: true });
  assert.match(
    verdicts[0]?.message ?? "",
    /^data\[proxy-real-ip-cidr\]: .*nobody's word on addresses is taken until then$/,
  );
});

test("a setting of a row that is out of its bounds, of another type or unknown is left out by name", () => {
  const read = readListenerSettings({
    keepAliveMs: 5000,
    keepAliveRequests: 0,
    hsts: "true",
    tlsCiphers: "ALL",
    snippet: "deny all;",
    constructor: "x",
    trusted: "10.0.0.0/8 office",
    unloggedUrls: "/a,b",
    http2Streams: 1.5,
  });
  assert.deepEqual(read.settings, { keepAliveMs: 5000 });
  assert.deepEqual(
    read.problems.map(({ setting }) => setting),
    [
      "constructor",
      "hsts",
      "http2Streams",
      "keepAliveRequests",
      "snippet",
      "tlsCiphers",
      "trusted",
      "unloggedUrls",
    ],
  );
});

test("what a proxy could not run with is told on the ConfigMap by its key, until it is changed", () => {
  const model = new FleetModel({
    fleet: "default",
    ingressClasses: ["nginx"],
    watchWithoutClass: false,
    configMap: of,
  });
  const told = () =>
    [...model.settle().verdicts.values()]
      .flat()
      .map(({ object, reason, message }) => [object.kind, reason, message]);
  model.setConfig({ metadata: of, data: { "ssl-ciphers": "ECDHE-RSA-AES128-GCM-SHA256" } });
  assert.deepEqual(told(), []);
  const refused = {
    setting: "tlsCiphers",
    value: "ECDHE-RSA-AES128-GCM-SHA256",
    proxy: "proxy1",
    why: "no handshake",
  };
  assert.equal(model.refuseSettings([refused]), true);
  assert.deepEqual(told(), [
    [
      "ConfigMap",
      "SettingRefused",
      "data[ssl-ciphers]: proxy proxy1 could not run with data[ssl-ciphers] (no handshake); all proxies go on as before until it is changed",
    ],
  ]);
  assert.equal(model.refuseSettings([refused]), false);
  assert.equal(model.refuseSettings([]), true);
  assert.deepEqual(told(), []);
});

test("settings of listeners are a row of the fleet while the ConfigMap says any", () => {
  const model = new FleetModel({
    fleet: "default",
    ingressClasses: ["nginx"],
    watchWithoutClass: false,
    configMap: of,
  });
  const row = () => model.settle().rows.get("default.settings");
  model.setConfig({ metadata: of, data: { "proxy-body-size": "8m" } });
  assert.equal(row(), undefined);
  model.setConfig({ metadata: of, data: { "keep-alive": "20" } });
  assert.deepEqual(row(), { source: of, settings: { keepAliveMs: 20_000 } });
  model.setConfig({ metadata: of, data: { "keep-alive": "20", "proxy-body-size": "8m" } });
  assert.equal(row(), undefined, "nothing new");
  model.setConfig(null);
  assert.equal(row(), null);
});
