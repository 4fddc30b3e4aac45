import assert from "node:assert/strict";
import { test } from "node:test";
import { readAnnotations } from "../read-annotations.ts";
import type { Annotation } from "./annotation.ts";
import { groups } from "./groups.ts";
import { findRefused } from "./refused.ts";

/** Texts that are read, each with what it says, and texts that are refused. */
type Texts = readonly [good: readonly (readonly [text: string, said: unknown])[], bad: readonly string[]];

const flag: Texts = [
  [
    ["true", true],
    ["1", true],
    ["T", true],
    [" false ", false],
    ["0", false],
  ],
  ["yes", "on", "tRUE", "2"],
];
const onOff: Texts = [
  [
    ["on", true],
    ["off", false],
  ],
  ["true", "ON", "1"],
];
/** @param most the largest that is taken @param least the smallest */
const whole = (least: number, most: number): Texts => [
  [
    [String(least), least],
    [` ${most}`, most],
  ],
  [String(most + 1), "-1", "1.5", "1e3", "0x10", "٣", "1s", ...(least > 0 ? [String(least - 1)] : [])],
];
/** In milliseconds. */
const seconds = (least: number): Texts => [
  [
    [String(least), least * 1000],
    ["86400", 86_400_000],
  ],
  ["86401", "5s", "1m", "-1", "0.5", ...(least > 0 ? ["0"] : [])],
];
const words = (...all: readonly string[]): Texts => [
  all.map((each) => [each, each] as const),
  ["nothing", `${all[0]} x`],
];
const url: Texts = [
  [["HTTPS://www.example.test/a?b=c", "https://www.example.test/a?b=c"]],
  ["www.example.test", "/a", "ftp://example.test/", "https://$host/", "https://a b/", "javascript:alert(1)"],
];
const ranges: Texts = [
  [
    ["10.0.0.0/8, 192.0.2.1,2001:db8::/32", ["10.0.0.0/8", "192.0.2.1/32", "2001:db8::/32"]],
    ["::1", ["::1/128"]],
  ],
  ["10.0.0.0/33", "10.0.0.0/8,", "office", "10.0.0", "10.0.0.0/8; allow all"],
];
const secret: Texts = [
  [
    ["users", "users"],
    ["shop/users", "shop/users"],
  ],
  ["Users", "a/b/c", "users;"],
];
const cookieText: Texts = [
  [
    ["off", "off"],
    ["/app/  /", { from: "/app/", to: "/" }],
  ],
  ["~^/app /", "/app", "a b c", "a;b c", "$host b"],
];
const names: Texts = [
  [["X-One, X-Two", "X-One, X-Two"]],
  ["X One", "X-One,", "X:One", `X-${"a".repeat(2048)}`],
];
const cookieName: Texts = [[["a-B_c.1", "a-B_c.1"]], ["a b", "a=b", "a;", "x".repeat(129)]];

/** By annotation. */
const table: Readonly<Record<string, Texts>> = {
  "permanent-redirect": url,
  "permanent-redirect-code": whole(300, 308),
  "temporal-redirect": url,
  "temporal-redirect-code": whole(300, 308),
  "app-root": [[["/shop?x=1", "/shop?x=1"]], ["shop", "//evil.example.test", "/\\evil", "/$host", "/a b"]],
  "from-to-www-redirect": flag,
  "ssl-redirect": flag,
  "force-ssl-redirect": flag,
  "use-regex": flag,
  "rewrite-target": [
    [
      ["/$1?x=$2", "/$1?x=$2"],
      ["HTTP://new.example.test/$1", "http://new.example.test/$1"],
    ],
    ["$0", "/$", "new", "https://$1.example.test/", "/a b", "/\r\nx"],
  ],
  "x-forwarded-prefix": [[["/app/$1", "/app/$1"]], ["/a b", "/$host", "/a\nb"]],
  "upstream-vhost": [
    [
      ["web.shop.svc:80", "web.shop.svc:80"],
      // biome-ignore lint/suspicious/noTemplateCurlyInString: a variable of nginx
      ["${service_name}.$namespace", "${service_name}.$namespace"],
      ["[::1]:80", "[::1]:80"],
    ],
    ["$host", "a b", "web:0", "web:99999", "a/b", "web;"],
  ],
  "default-backend": [[["web", "web"]], ["Web", "a b", "-web", "web;", "shop/web"]],
  "server-alias": [
    [["A.example.test, *.b.example.test", ["a.example.test", "*.b.example.test"]]],
    ["~^www\\d+$", "a b", "*", "a..b"],
  ],
  "load-balance": words("round_robin", "ewma", "least_conn"),
  "upstream-hash-by": [
    [
      ["$remote_addr", [{ variable: "remote_addr" }]],
      // biome-ignore lint/suspicious/noTemplateCurlyInString: a variable of nginx
      ["a-${http_x_user}$arg_id", [{ text: "a-" }, { variable: "http_x_user" }, { variable: "arg_id" }]],
    ],
    ["plain", "$document_root", "$", "$remote_addr\nx", "$hostname"],
  ],
  affinity: words("cookie"),
  "affinity-mode": words("balanced", "persistent"),
  "session-cookie-name": cookieName,
  "session-cookie-max-age": whole(0, 315_360_000),
  "session-cookie-expires": whole(0, 315_360_000),
  "session-cookie-path": [[["/app", "/app"]], ["app", "/a;b", "/$1", "/a b"]],
  "session-cookie-domain": [[[".example.test", ".example.test"]], ["a..b", "a b", "a;b", "example.test/"]],
  "session-cookie-samesite": [
    [
      ["none", "None"],
      ["LAX", "Lax"],
      ["Strict", "Strict"],
    ],
    ["any", "Lax;"],
  ],
  "session-cookie-secure": flag,
  "session-cookie-change-on-failure": flag,
  canary: flag,
  "canary-by-header": [[["X-Canary", "x_canary"]], ["X Canary", "X:", "x".repeat(129)]],
  "canary-by-header-value": [[["next one", "next one"]], ["a\u0001b", "x".repeat(1025)]],
  "canary-by-header-pattern": [[["^v[2-9]$", "^v[2-9]$"]], ["(", "(?R)", "(?C1)x"]],
  "canary-by-cookie": cookieName,
  "canary-weight": whole(0, 1_000_000),
  "canary-weight-total": whole(0, 1_000_000),
  "affinity-canary-behavior": words("sticky", "legacy"),
  "enable-cors": flag,
  "cors-allow-origin": [
    [
      [
        "https://A.example.test, http://*.b.test:8080,null",
        ["https://a.example.test", "http://*.b.test:8080", "null"],
      ],
      ["https://a.test, *", ["*"]],
    ],
    ["https://a.test/", "a.test", "https://*", "https://a.test;", ","],
  ],
  "cors-allow-methods": [[["GET, PUT", "GET, PUT"]], ["GET PUT", "GET;", "GET,"]],
  "cors-allow-headers": names,
  "cors-allow-credentials": flag,
  "cors-expose-headers": [[["*, X-One", "*, X-One"]], ["X One", "X-One,"]],
  "cors-max-age": whole(0, 315_360_000),
  "proxy-cookie-domain": cookieText,
  "proxy-cookie-path": cookieText,
  "custom-headers": secret,
  "enable-access-log": flag,
  "custom-http-errors": [[["503, 404,404", [404, 503]]], ["200", "4xx", "404;", "404 503", "600"]],
  "mirror-target": [
    [
      [
        "http://copies.example.test:8080/a",
        { secure: false, host: "copies.example.test", port: 8080, target: [{ text: "/a" }] },
      ],
    ],
    ["http://$host/", "copies.example.test", "http://a/#b"],
  ],
  "mirror-request-body": onOff,
  "mirror-host": [
    [
      ["copies.example.test:80", { text: "copies.example.test:80" }],
      ["$host", { variable: "host" }],
    ],
    ["$http_x", "a b", "a;b", "http://a"],
  ],
  "allowlist-source-range": ranges,
  "whitelist-source-range": ranges,
  "denylist-source-range": ranges,
  "limit-whitelist": ranges,
  satisfy: words("all", "any"),
  "auth-type": [[["basic", "basic"]], ["digest", "Basic", "none"]],
  "auth-secret": secret,
  "auth-secret-type": words("auth-file", "auth-map"),
  "auth-realm": [[["The shop, 2nd floor", "The shop, 2nd floor"]], ['a"b', "a\\b", "x".repeat(257), "é"]],
  "auth-url": [
    [
      [
        "https://$host/check?a=$args",
        {
          secure: true,
          host: null,
          port: 443,
          target: [{ text: "/check?a=" }, { variable: "args" }],
        },
      ],
    ],
    ["auth.example.test", "http://$arg_host/", "http://a/$cookie_x", "http://a:99999/", "file:///etc/passwd"],
  ],
  "auth-method": [[["POST", "POST"]], ["post", "PURGE", "GET;"]],
  "auth-signin": [
    [
      [
        "https://login.example.test/?rd=$escaped_request_uri",
        "https://login.example.test/?rd=$escaped_request_uri",
      ],
    ],
    ["//evil.example.test", "login", "https://a/#b", "https://a/$cookie_x"],
  ],
  "enable-global-auth": flag,
  "auth-signin-redirect-param": [[["return-to", "return-to"]], ["a b", "a=b", "a&b"]],
  "auth-response-headers": [
    [["X-User, X-Role", ["X-User", "X-Role"]]],
    ["Host", "X-User, Connection", "X User"],
  ],
  "auth-always-set-cookie": flag,
  "auth-request-redirect": [
    [["https://$host/x", [{ text: "https://" }, { variable: "host" }, { text: "/x" }]]],
    ["a b", "$cookie_x"],
  ],
  "auth-tls-secret": secret,
  "auth-tls-verify-client": words("on", "off", "optional", "optional_no_ca"),
  "auth-tls-verify-depth": whole(0, 100),
  "auth-tls-pass-certificate-to-upstream": flag,
  "auth-tls-error-page": url,
  "limit-rps": whole(0, 1_000_000),
  "limit-rpm": whole(0, 1_000_000),
  "limit-burst-multiplier": whole(1, 1000),
  "limit-connections": whole(0, 1_000_000),
  "limit-rate": whole(0, 2 ** 30),
  "limit-rate-after": whole(0, 2 ** 30),
  "backend-protocol": [
    [
      ["https", "HTTPS"],
      ["GRPCS", "GRPCS"],
    ],
    ["h2c", "HTTP/2"],
  ],
  "proxy-ssl-secret": [[["shop/backend", "shop/backend"]], ["x".repeat(508)]],
  "proxy-ssl-verify": onOff,
  "proxy-ssl-verify-depth": whole(1, 9),
  "proxy-ssl-name": [[["web.example.test", "web.example.test"]], ["$host", "a b", "a;b"]],
  "proxy-ssl-server-name": onOff,
  "proxy-ssl-protocols": [[["TLSv1.3 TLSv1.2", "TLSv1.2 TLSv1.3"]], ["SSLv3", "TLSv1.2;"]],
  "proxy-ssl-ciphers": [[["HIGH:!aNULL", "HIGH:!aNULL"]], ["HIGH; x", "a b"]],
  "service-upstream": flag,
  "proxy-body-size": [
    [
      ["8m", 8 * 2 ** 20],
      ["0", 0],
      ["1G", 2 ** 30],
    ],
    ["8mb", "-1", "1.5m", "1025g"],
  ],
  "client-body-buffer-size": [[["8k", 8192]], ["1", "17m", "8 k"]],
  "proxy-connect-timeout": seconds(1),
  "proxy-read-timeout": seconds(1),
  "proxy-send-timeout": seconds(1),
  "proxy-buffering": onOff,
  "proxy-buffer-size": [[["16k", 16_384]], ["512", "2m"]],
  "proxy-buffers-number": whole(2, 64),
  "proxy-request-buffering": onOff,
  "proxy-http-version": words("1.0", "1.1"),
  "proxy-next-upstream": [
    [["timeout  error http_502", "error http_502 timeout"]],
    ["everything", "error; deny", "http_501"],
  ],
  "proxy-next-upstream-tries": whole(0, 32),
  "proxy-next-upstream-timeout": seconds(0),
};

const all: readonly Annotation<unknown>[] = Object.values(groups).flatMap(
  ({ annotations }) => annotations as readonly Annotation<unknown>[],
);

test("each annotation reads what it may say, and refuses what it may not with its shape", () => {
  assert.deepEqual(Object.keys(table).sort(), all.map(({ name }) => name).sort());
  for (const { name, shape, read } of all) {
    const [good, bad] = table[name] ?? [[], []];
    for (const [text, said] of good) {
      const reading = read(text);
      assert.ok(reading.ok, `${name}: ${text}`);
      assert.deepEqual(Object.values(reading.said as object), [said], `${name}: ${text}`);
    }
    for (const text of bad) {
      const reading = read(text);
      assert.ok(!reading.ok && reading.why.length > 0, `${name}: ${text} is read`);
    }
    assert.ok(good.length > 0 && bad.length > 0 && shape !== "", name);
  }
});

test("of each that is ill-typed its object is told by name, and of what protects that it closes", () => {
  for (const { name, protects } of all) {
    const key = `nginx.ingress.kubernetes.io/${name}`;
    for (const text of table[name]?.[1] ?? []) {
      const { invalid, protection } = readAnnotations(new Map([[key, text]]));
      const told = protects === true ? protection : invalid;
      assert.equal(told.length, 1, `${name}: ${text}`);
      assert.ok(told[0]?.includes(key), told[0]);
      assert.deepEqual(protects === true ? invalid : protection, []);
    }
  }
});

test("what is refused is told with why and what to do instead; what guards closes its object", () => {
  const reading = (name: string, text: string) =>
    readAnnotations(new Map([[`nginx.ingress.kubernetes.io/${name}`, text]]));
  for (const [name, text, closes] of [
    ["configuration-snippet", "more_set_headers 'X-A: b';", false],
    ["configuration-snippet", "deny all;", true],
    ["configuration-snippet", "if ($http_x) { return 403; }", true],
    ["server-snippet", "location /x { }", false],
    ["server-snippet", "auth_basic off;", true],
    ["stream-snippet", "server { listen 1; }", false],
    ["stream-snippet", "allow 10.0.0.0/8;", true],
    ["server-snippet", "access_by_lua_block { }", true],
    ["auth-snippet", "proxy_set_header X-A b;", true],
    ["enable-modsecurity", "true", false],
    ["modsecurity-snippet", "SecRuleEngine On", false],
    ["modsecurity-transaction-id", "$request_id", false],
    ["enable-owasp-core-rules", "true", false],
    ["auth-proxy-set-headers", "shop/headers", true],
    ["auth-cache-key", "$remote_user", false],
    ["auth-keepalive", "8", false],
    ["auth-tls-match-cn", "CN=alice", true],
  ] as const) {
    const { refused, protection, invalid, ignored } = reading(name, text);
    const told = closes ? protection : refused;
    assert.equal(told.length, 1, `${name}: ${text}`);
    assert.ok(told[0]?.includes(`nginx.ingress.kubernetes.io/${name}`), told[0]);
    assert.ok(told[0]?.includes(findRefused(name)?.why ?? "-"), told[0]);
    assert.deepEqual([closes ? refused : protection, invalid, ignored], [[], [], []], name);
  }
});
