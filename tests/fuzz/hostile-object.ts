import type { SeededRandom } from "../simulation/seeded-random.ts";
import { annotationNames, configKeys, textsFor } from "./annotation-texts.ts";
import { hostileText, spoiled } from "./hostile-text.ts";
import { published } from "./published.ts";

/** An object from somebody who means ill, with what it needs around it. Nothing but JSON: it is shrunk and printed. */
export interface HostileObject {
  readonly kind: "ingress" | "import" | "rows" | "settings" | "paths";
  /** Objects of the hub, and of topology. */
  readonly ingresses: readonly unknown[];
  readonly imports: readonly unknown[];
  readonly classes: readonly unknown[];
  readonly peers: readonly unknown[];
  /** `data` of Secrets, not yet in base64, and of the ConfigMap; `@cert`, `@key` and `@ca` stand for a certificate that is well. */
  readonly secrets: Readonly<Record<string, Readonly<Record<string, string>>>>;
  readonly config: Readonly<Record<string, string>>;
  /** `data` of the ConfigMap `headers`, which custom-headers may name. */
  readonly headers?: Readonly<Record<string, unknown>>;
  /** Rows of the fleet that no model of ours wrote, by key. */
  readonly rows: Readonly<Record<string, unknown>>;
  /** Given to the emitter straight: settings of a profile, and texts of the process's own options. */
  readonly settings?: Readonly<Record<string, unknown>>;
  /** The same of what is said of listeners. */
  readonly listeners?: Readonly<Record<string, unknown>>;
  readonly paths?: { readonly dir: string; readonly luaPackagePath: string; readonly httpAddress: string };
}

export const NAMESPACE = "shop";
const PREFIX = "nginx.ingress.kubernetes.io/";
/** Loopback that no pod of ours uses; nobody listens on port 1. */
export const PEERS = "127.66.0.0/16";

const none = {
  ingresses: [],
  imports: [],
  classes: [],
  peers: [],
  secrets: {},
  config: {},
  rows: {},
} as const;

function maybe(random: SeededRandom, chance: number, good: string): unknown {
  if (!random.chance(chance)) return good;
  return random.chance(0.15)
    ? wrongType(random)
    : random.chance(0.5)
      ? hostileText(random)
      : spoiled(random, good);
}

function wrongType(random: SeededRandom): unknown {
  return random.pick<unknown>([
    null,
    0,
    -1,
    1.5,
    1e308,
    true,
    [],
    {},
    ["a"],
    { a: { b: {} } },
    [[[[]]]],
    { toString: null, __proto__: null, length: 3 },
  ]);
}

function publishedAt(random: SeededRandom, at: string): string | null {
  const fitting = published.filter((input) => input.at === at);
  return fitting.length > 0 ? random.pick(fitting).text : null;
}

function annotations(random: SeededRandom): Record<string, unknown> {
  const said: Record<string, unknown> = {};
  const count = random.chance(0.01) ? 500 : random.between(0, 6);
  for (let i = 0; i < count; i++) {
    const name = random.chance(0.03) ? hostileText(random) : random.pick(annotationNames);
    const good = random.pick(textsFor(name));
    const own = random.chance(0.1) ? publishedAt(random, name) : null;
    said[PREFIX + name] = own ?? maybe(random, 0.5, good);
  }
  if (random.chance(0.02)) said[`${PREFIX}upstream-vhost`] = "x".repeat(250_000);
  if (random.chance(0.02)) said["kubernetes.io/ingress.class"] = maybe(random, 0.8, "nginx");
  return said;
}

function path(random: SeededRandom, hostility: number): unknown {
  const good = random.pick(["/", "/app", "/app/", "/a/b/c", "/(.*)", "/app/([0-9]+)/x", "/%41%C3%A9", "/$x"]);
  const own = random.chance(0.15 * hostility * 2) ? publishedAt(random, "path") : null;
  return {
    path: own ?? maybe(random, hostility, good),
    pathType: maybe(random, 0.03, random.pick(["Exact", "Prefix", "ImplementationSpecific"])),
    backend: backend(random, hostility / 4),
  };
}

function backend(random: SeededRandom, hostility: number): unknown {
  if (random.chance(0.02)) return wrongType(random);
  if (random.chance(0.02)) return { resource: { kind: hostileText(random), name: "x" } };
  const name = maybe(random, hostility, random.pick(["web", "derived-web", "spare", "missing"]));
  const port = random.chance(0.8) ? { number: 80 } : { name: maybe(random, 0.3, "http") };
  return { service: { name, port: random.chance(0.03) ? wrongType(random) : port } };
}

function ingress(random: SeededRandom, at: number, hostility: number): unknown {
  const host = () =>
    maybe(random, hostility / 2, random.pick(["shop.example.test", "*.example.test", "a.b.example.test"]));
  const paths = random.chance(0.004) ? random.pick([1000, 10_001]) : random.between(1, 4);
  const rules = Array.from({ length: random.between(1, 3) }, () => ({
    ...(random.chance(0.9) ? { host: host() } : {}),
    http: random.chance(0.02)
      ? wrongType(random)
      : { paths: Array.from({ length: paths }, (_, i) => (i < 50 ? path(random, hostility) : plainPath(i))) },
  }));
  return {
    metadata: {
      namespace: NAMESPACE,
      name: `ingress-${at}`,
      creationTimestamp: maybe(random, 0.05, "2026-01-01T00:00:00Z"),
      annotations: random.chance(0.01) ? wrongType(random) : hostility > 0 ? annotations(random) : {},
    },
    spec: random.chance(0.01)
      ? wrongType(random)
      : {
          ingressClassName: maybe(random, 0.02, "nginx"),
          rules: random.chance(0.01) ? wrongType(random) : rules,
          ...(random.chance(0.1) ? { defaultBackend: backend(random, hostility) } : {}),
          ...(random.chance(0.2)
            ? { tls: [{ hosts: [host()], secretName: maybe(random, 0.5, "shop-tls") }] }
            : {}),
        },
  };
}

function plainPath(i: number): unknown {
  return { path: `/p/${i}`, pathType: "Prefix", backend: { service: { name: "web", port: { number: 80 } } } };
}

function serviceImport(random: SeededRandom, name: string, hostility: number): unknown {
  const port = () => ({
    port: random.chance(hostility / 4) ? wrongType(random) : 80,
    ...(random.chance(0.5) ? { name: maybe(random, hostility / 2, "http") } : {}),
    ...(random.chance(0.3) ? { protocol: maybe(random, hostility / 4, "TCP") } : {}),
  });
  const said: Record<string, unknown> = {};
  if (random.chance(hostility)) said["sluice.dev/from-clusters"] = maybe(random, 0.6, "member1,member2");
  if (random.chance(hostility))
    said["sluice.dev/cluster-weights"] = maybe(random, 0.6, "member1=3,member2=1");
  if (random.chance(hostility)) said["sluice.dev/failover"] = maybe(random, 0.6, "member1;member2");
  return {
    metadata: { namespace: NAMESPACE, name, annotations: said },
    spec: random.chance(hostility / 20)
      ? wrongType(random)
      : { ports: Array.from({ length: random.between(1, 3) }, port) },
  };
}

const ADDRESSES: readonly string[] = [
  "127.66.0.1",
  "127.66.255.254",
  "10.0.0.1",
  "127.0.0.1",
  "169.254.169.254",
  "0.0.0.0",
  "::1",
  "::ffff:127.66.0.1",
  "fe80::1%eth0",
  "127.1",
  "0x7f.66.0.1",
  "0177.66.0.1",
  "127.66.0.256",
  "127.66.0.1:80",
  "unix:/tmp/x",
  "localhost",
  "127.66.0.1\n",
  "127.66.0.1 ",
  "127.66.0.01",
  "２127.66.0.1",
  "",
  "[::1]",
  "2001:db8::1",
];

function topologyPeers(random: SeededRandom, service: string, hostility: number): unknown {
  const peer = () => ({
    address: random.chance(hostility) ? random.pick([...ADDRESSES, hostileText(random)]) : "127.66.0.1",
    port: random.chance(hostility / 4) ? random.pick([0, -1, 65_536, 1.5, 1e9, "80", null]) : 1,
    ...(random.chance(0.2) ? { draining: random.chance(0.9) ? true : hostileText(random) } : {}),
  });
  const count = random.chance(hostility / 50) ? 5000 : random.between(0, 4);
  const peers = Array.from({ length: count }, peer);
  return {
    namespace: NAMESPACE,
    service,
    cluster: random.pick(["member1", "member2"]),
    ports: {
      "": peers,
      ...(random.chance(0.5) ? { http: peers } : {}),
      ...(random.chance(hostility / 4) ? { [hostileText(random)]: peers } : {}),
    },
  };
}

function around(random: SeededRandom, hostility: number): Pick<HostileObject, "imports" | "peers"> {
  return {
    imports: [
      serviceImport(random, "web", hostility),
      ...(random.chance(0.3) ? [serviceImport(random, "spare", hostility)] : []),
    ],
    peers: [topologyPeers(random, "web", hostility)],
  };
}

const SECRET: Readonly<Record<string, readonly string[]>> = {
  "tls.crt": ["@cert", "@cert@ca", "@ca"],
  "tls.key": ["@key"],
  "ca.crt": ["@ca", "@ca@cert"],
  auth: ["jane:$apr1$abcdefgh$M0Gz8G1nZ8VqQ1Yp3cC0U/", "jane:{SHA}qUqP5cyxm6YcTAhz05Hph5gvu9M=", "a:b\nc:d"],
  jane: ["$2y$05$abcdefghijklmnopqrstuu5s0xV7R3u8oXr0qJpQ7wX8m1rX6mG2"],
};

/** Secrets of the names that annotations and `spec.tls` say. */
function secretsOf(random: SeededRandom): Record<string, Record<string, string>> {
  const secrets: Record<string, Record<string, string>> = {};
  for (const name of ["secret", "shop-tls", "backend", "clients"]) {
    if (!random.chance(0.5)) continue;
    const data: Record<string, string> = {};
    for (const [field, texts] of Object.entries(SECRET)) {
      if (!random.chance(0.7)) continue;
      const good = random.pick(texts);
      const spoilt = random.chance(0.4);
      data[field] = spoilt ? (random.chance(0.3) ? hostileText(random) : spoiled(random, good)) : good;
    }
    if (random.chance(0.1)) data[hostileText(random)] = hostileText(random);
    secrets[name] = data;
  }
  return secrets;
}

const NAMING: readonly Readonly<Record<string, string>>[] = [
  { "auth-type": "basic", "auth-secret": "secret" },
  { "auth-type": "basic", "auth-secret": "secret", "auth-secret-type": "auth-map" },
  { "auth-tls-secret": "shop/clients" },
  {
    "backend-protocol": "HTTPS",
    "proxy-ssl-secret": "shop/backend",
    "proxy-ssl-verify": "on",
    "proxy-ssl-name": "shop.example.test",
  },
];

/** The same object, with Secrets named where they have a meaning. */
function naming(random: SeededRandom, ingress: unknown): unknown {
  const { metadata, spec } = ingress as { metadata: Record<string, unknown>; spec: unknown };
  const said = Object.entries(random.pick(NAMING)).map(([name, text]) => [PREFIX + name, text]);
  const annotations = { ...(metadata["annotations"] as object), ...Object.fromEntries(said) };
  const tls = [{ hosts: ["shop.example.test"], secretName: "shop-tls" }];
  return {
    metadata: { ...metadata, annotations },
    spec: typeof spec === "object" && spec !== null ? { tls, ...spec } : spec,
  };
}

/** The ConfigMap of ingress-nginx: names of keys that are those of annotations too, and others. */
function configOf(random: SeededRandom): Record<string, string> {
  const data: Record<string, string> = {};
  for (let i = random.between(1, 4); i > 0; i--) {
    const name = random.chance(0.1) ? hostileText(random) : random.pick(configKeys);
    const good = random.pick(textsFor(name));
    const given = maybe(random, 0.5, good);
    data[name] = typeof given === "string" ? given : good;
  }
  return data;
}

const ANSWER_HEADERS = [
  "X-Frame-Options",
  "Content-Security-Policy",
  "X-Own",
  "Content-Length",
  "Set-Cookie",
];

function answerHeaders(random: SeededRandom): Record<string, unknown> {
  const data: Record<string, unknown> = {};
  for (let i = random.chance(0.02) ? 500 : random.between(1, 4); i > 0; i--) {
    const name = random.chance(0.2) ? spoiled(random, "X-Own") : random.pick(ANSWER_HEADERS);
    data[random.chance(0.1) ? hostileText(random) : name] = maybe(
      random,
      0.5,
      "default-src 'self'; x \"$1\"",
    );
  }
  return data;
}

/** The same object, with headers named, and a list of all that may be. */
function withHeaders(
  random: SeededRandom,
  ingress: unknown,
  headers: Record<string, unknown>,
): Pick<HostileObject, "config" | "headers"> & { readonly ingress: unknown } {
  const { metadata, spec } = ingress as { metadata: Record<string, unknown>; spec: unknown };
  const annotations = {
    ...(metadata["annotations"] as object),
    [`${PREFIX}custom-headers`]: maybe(random, 0.1, "headers"),
  };
  const allowed = Object.keys(headers).filter(
    (name) => /^[A-Za-z0-9-]+$/.test(name) && !/^content-l/i.test(name),
  );
  return {
    ingress: { metadata: { ...metadata, annotations }, spec },
    headers,
    config: { "global-allowed-response-headers": allowed.join(",") },
  };
}

/** A row as somebody would write it who has a renderer's credential, or whose renderer is of another version. */
function foreignRows(random: SeededRandom): Record<string, unknown> {
  const source = { kind: "MultiClusterIngress", namespace: NAMESPACE, name: "shop" };
  const hash = maybe(random, 0.3, "a1");
  const rows: Record<string, unknown> = {};
  rows[`default.profiles.${random.chance(0.8) ? "a1" : hostileText(random).replaceAll(/[^0-9a-z]/g, "x")}`] =
    {
      hash,
      settings: settings(random),
    };
  rows["default.upstreams.web"] = {
    id: maybe(random, 0.1, "web"),
    namespace: NAMESPACE,
    service: "web",
    port: maybe(random, 0.2, ""),
    balance: maybe(random, 0.1, "round_robin"),
  };
  rows["default.peers.web.member1"] = {
    upstream: maybe(random, 0.1, "web"),
    cluster: maybe(random, 0.2, "member1"),
    share: random.chance(0.2) ? random.pick<unknown>([0, 1000, 1001, -1, 0.5, "1"]) : 1,
    peers: [{ address: random.pick(ADDRESSES), port: 1 }],
  };
  rows["default.routes.host"] = {
    host: maybe(random, 0.2, "shop.example.test"),
    paths: Array.from({ length: random.between(1, 4) }, () => foreignPath(random, source, hash)),
  };
  return rows;
}

function foreignPath(random: SeededRandom, source: unknown, profile: unknown): unknown {
  const some = (chance: number, more: Record<string, unknown>) => (random.chance(chance) ? more : {});
  return {
    type: maybe(random, 0.05, random.pick(["Exact", "Prefix"])),
    path: maybe(random, 0.3, "/app"),
    ...some(0.2, { regex: true }),
    upstream: random.chance(0.3) ? null : maybe(random, 0.1, "web"),
    profile: random.chance(0.5) ? "44136fa355b3678a" : profile,
    ...some(0.2, {
      redirect: {
        code: random.pick<unknown>([301, 302, 308, 299, 309, 301.5, "301"]),
        to: maybe(random, 0.5, "https://www.example.test/$1"),
        keeps: random.pick<unknown>([["groups"], ["query", "scheme"], ["uri"], ["all"], "uri"]),
      },
    }),
    ...some(0.2, { rewrite: maybe(random, 0.5, "/$1?x=$2") }),
    ...some(0.2, { vhost: maybe(random, 0.5, "shop.example.test") }),
    ...some(0.1, { forwardedPrefix: maybe(random, 0.5, "/app") }),
    ...some(0.2, {
      balance: {
        method: maybe(random, 0.2, random.pick(["hash", "cookie", "ewma"])),
        by: [{ variable: maybe(random, 0.5, "remote_addr") }, { text: maybe(random, 0.5, "x") }],
        cookie: {
          name: maybe(random, 0.4, "route"),
          path: maybe(random, 0.4, "/"),
          domain: maybe(random, 0.4, "example.test"),
        },
      },
    }),
    ...some(0.1, { [hostileText(random)]: hostileText(random) }),
    source,
  };
}

const SETTINGS: Readonly<Record<string, readonly unknown[]>> = {
  connectTimeoutMs: [1, 250, 86_400_000],
  readTimeoutMs: [1000, 3_600_000],
  sendTimeoutMs: [1000],
  maxBodyBytes: [0, 1024, 2 ** 40],
  bodyBufferBytes: [1024, 65_536],
  requestBuffering: [true, false],
  responseBuffering: [true, false],
  bufferBytes: [1024, 16_384],
  buffers: [2, 16, 64],
  httpVersion: ["1.0", "1.1"],
  nextUpstream: ["error timeout", "off", "error http_502"],
  nextTries: [0, 1, 32],
  nextTimeoutMs: [0, 1000],
  rewrites: [true, false],
  protocol: ["http", "https", "grpc", "grpcs"],
  tlsName: ["shop.example.test", ""],
  tlsServerName: [true, false],
  tlsVerify: [true, false],
  tlsDepth: [1, 9],
  tlsAuthorities: ["shop-backend-authorities", ""],
  tlsClient: ["shop-backend-tls", ""],
  tlsProtocols: ["TLSv1.2", "TLSv1.2 TLSv1.3"],
  tlsCiphers: ["DEFAULT", "HIGH:!aNULL", "AES128-SHA"],
};

function settings(random: SeededRandom): Record<string, unknown> {
  const said: Record<string, unknown> = {};
  // What holds for TLS has a meaning beside it only.
  if (random.chance(0.4)) said["protocol"] = random.pick(["https", "grpcs"]);
  for (let i = random.between(1, 5); i > 0; i--) {
    const [name, values] = random.pick(Object.entries(SETTINGS));
    const value = random.pick(values);
    if (!random.chance(0.4)) said[name] = value;
    else if (typeof value === "string") said[name] = maybe(random, 1, value);
    else if (typeof value === "number")
      said[name] = random.pick<unknown>([-1, 0, 1.5, 2 ** 53, 1e21, "1", "1ms; deny all", null, value * 1e6]);
    else said[name] = random.pick<unknown>(["on", 1, null, hostileText(random)]);
  }
  if (random.chance(0.1)) said[hostileText(random)] = hostileText(random);
  return said;
}

const LISTENERS: Readonly<Record<string, readonly (string | number | boolean)[]>> = {
  forwardedHeaders: [true, false],
  forwardedForHeader: ["X-Forwarded-For", "CF-Connecting-IP"],
  fullForwardedFor: [true],
  realIp: [true],
  trusted: ["10.0.0.0/8", "10.0.0.0/8 2001:db8::/32", "", "0.0.0.0/0 ::/0"],
  proxyProtocol: [true],
  hsts: [true, false],
  hstsMaxAgeSeconds: [0, 60, 2 ** 31 - 1],
  hstsSubdomains: [false],
  hstsPreload: [true],
  tlsProtocols: ["TLSv1.2", "TLSv1.3", "TLSv1.2 TLSv1.3"],
  tlsCiphers: ["HIGH:!aNULL:!MD5", "ECDHE-RSA-AES128-GCM-SHA256", "DEFAULT"],
  tlsCurves: ["auto", "X25519:P-256", "secp384r1"],
  tlsSessionCache: [false],
  tlsSessionCacheBytes: [2 ** 20, 2 ** 24],
  tlsSessionSeconds: [1, 86_400],
  tlsSessionTickets: [true],
  tlsBufferBytes: [1024, 16_384],
  http2: [false],
  http2Streams: [1, 10_000],
  keepAliveMs: [0, 75_000, 3_600_000],
  keepAliveRequests: [1, 1e9],
  headerTimeoutMs: [1000, 3_600_000],
  headerBufferBytes: [1024, 65_536],
  largeHeaderBuffers: ["4 8192", "1 1024", "64 1048576"],
  bodyTimeoutMs: [1000],
  versionTold: [true],
  requestIds: [false],
  accessLog: [true, false],
  unloggedUrls: ["/healthz", "/healthz,/ready?full=1", ""],
  shutdownMs: [1000, 86_400_000],
  peerConnections: [1, 10_000],
  peerIdleMs: [1000],
  peerRequests: [1, 1e9],
  peerLifeMs: [1000],
};

function listeners(random: SeededRandom): Record<string, unknown> {
  const said: Record<string, unknown> = {};
  for (let i = random.between(1, 8); i > 0; i--) {
    const [name, values] = random.pick(Object.entries(LISTENERS));
    const value = random.pick<unknown>(values);
    if (!random.chance(0.4)) said[name] = value;
    else if (typeof value === "string") said[name] = maybe(random, 1, value);
    else
      said[name] = random.pick<unknown>([
        -1,
        0.5,
        2 ** 53,
        1e21,
        "1",
        null,
        [],
        hostileText(random),
        Number(value) * 1e6,
      ]);
  }
  if (random.chance(0.1)) said[hostileText(random)] = hostileText(random);
  return said;
}

/** What a quoted text of nginx has to escape, or ends it. */
const QUOTING = [
  '"',
  '"x',
  '";',
  '\\"',
  "\\",
  '\\"',
  '";',
  "'",
  "{",
  "}",
  "$",
  "\\n",
  '\\\\"',
  "#",
  " ",
] as const;

export function hostileObject(random: SeededRandom): HostileObject {
  const kind = random.next();
  if (kind < 0.7) {
    const classes = random.chance(0.05)
      ? [
          {
            metadata: {
              name: maybe(random, 0.5, "nginx"),
              annotations: { "ingressclass.kubernetes.io/is-default-class": maybe(random, 0.3, "true") },
            },
          },
        ]
      : [];
    const count = random.chance(0.2) ? 2 : 1;
    const ingresses = Array.from({ length: count }, (_, i) => ingress(random, i, 0.4));
    const secrets = random.chance(0.5) ? secretsOf(random) : {};
    if (Object.keys(secrets).length > 0) ingresses[0] = naming(random, ingresses[0]);
    const config = random.chance(0.1) ? configOf(random) : {};
    const object = { ...none, kind: "ingress", classes, secrets, ...around(random, 0) } as const;
    if (!random.chance(0.1)) return { ...object, ingresses, config };
    const { ingress: first, ...named } = withHeaders(random, ingresses[0], answerHeaders(random));
    return {
      ...object,
      ingresses: [first, ...ingresses.slice(1)],
      ...named,
      config: { ...config, ...named.config },
    };
  }
  if (kind < 0.8) {
    return { ...none, kind: "import", ingresses: [ingress(random, 0, 0)], ...around(random, 0.6) };
  }
  if (kind < 0.9) return { ...none, kind: "rows", rows: foreignRows(random) };
  if (kind < 0.93) {
    return random.chance(0.5)
      ? { ...none, kind: "settings", settings: settings(random) }
      : { ...none, kind: "settings", listeners: listeners(random) };
  }
  // Mostly short ones: a socket's path has no room for more.
  const text = (good: string) => {
    if (random.chance(0.5)) return good + random.pick(QUOTING);
    const given = maybe(random, 0.8, good);
    return typeof given === "string" ? given : good;
  };
  return {
    ...none,
    kind: "paths",
    paths: {
      dir: `/${text("var/lib/sluice")}`,
      luaPackagePath: text("/usr/share/lua/5.1/?.lua"),
      httpAddress: random.chance(0.2) ? text("127.0.0.1:31590") : "127.0.0.1:31590",
    },
  };
}
