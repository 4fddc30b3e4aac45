// Objects that every run has, before those that its seed makes: each published input by itself, at the place that it was
// made for, and objects as large as a hub stores them.
import { SeededRandom } from "../simulation/seeded-random.ts";
import { type HostileObject, hostileObject, NAMESPACE } from "./hostile-object.ts";
import { type PublishedInput, published } from "./published.ts";

const PREFIX = "nginx.ingress.kubernetes.io/";
const HOST = "shop.example.test";
const users = { auth: "jane:{SHA}qUqP5cyxm6YcTAhz05Hph5gvu9M=" };

/** What an annotation means nothing without. */
const beside: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  "auth-realm": { "auth-type": "basic", "auth-secret": "secret" },
  "auth-secret": { "auth-type": "basic" },
  "auth-method": { "auth-url": "http://auth.example.test/" },
  "auth-proxy-set-headers": { "auth-url": "http://auth.example.test/" },
  "auth-tls-match-cn": { "auth-tls-secret": "clients" },
  "custom-http-errors": { "auth-url": "http://auth.example.test/", "default-backend": "spare" },
  "mirror-host": { "mirror-target": "http://mirror.example.test/" },
  "proxy-ssl-secret": { "backend-protocol": "HTTPS" },
  "x-forwarded-prefix": { "rewrite-target": "/" },
};

const backend = { service: { name: "web", port: { number: 80 } } };

interface Rule {
  readonly host: string;
  readonly paths: readonly (readonly [path: string, pathType: string])[];
}

function object(
  rules: readonly Rule[],
  annotations: Readonly<Record<string, string>> = {},
  tls: readonly object[] = [],
): HostileObject {
  const said = Object.entries(annotations).map(([name, text]) => [PREFIX + name, text]);
  return {
    kind: "ingress",
    ingresses: [
      {
        metadata: {
          namespace: NAMESPACE,
          name: "shop",
          creationTimestamp: "2026-01-01T00:00:00Z",
          annotations: Object.fromEntries(said),
        },
        spec: {
          ingressClassName: "nginx",
          tls,
          rules: rules.map(({ host, paths }) => ({
            host,
            http: { paths: paths.map(([path, pathType]) => ({ path, pathType, backend })) },
          })),
        },
      },
    ],
    imports: ["web", "spare"].map((name) => ({
      metadata: { namespace: NAMESPACE, name },
      spec: { ports: [{ port: 80, protocol: "TCP" }] },
    })),
    classes: [],
    peers: [],
    secrets: { secret: users, clients: { "ca.crt": "@ca" } },
    config: {},
    rows: {},
  };
}

export function publishedObject({ at, text }: PublishedInput): HostileObject {
  const plain: Rule = { host: HOST, paths: [["/", "Prefix"]] };
  if (at === "path")
    return object([
      {
        ...plain,
        paths: [
          ["/", "Prefix"],
          [text, "ImplementationSpecific"],
        ],
      },
    ]);
  return object([plain], { ...beside[at], [at]: text });
}

const hosts = (count: number): Rule[] =>
  Array.from({ length: count }, (_, i) => ({ host: `h${i}.example.test`, paths: [["/", "Prefix"]] }));
const longPaths = (count: number): Rule[] => [
  { host: HOST, paths: Array.from({ length: count }, (_, i) => [`/p${i}/${"x".repeat(4000)}`, "Prefix"]) },
];
const label = "x".repeat(60);
const origins = Array.from({ length: 64 }, (_, i) => `https://h${i}.${label}.${label}.${label}.test`);

/** Somewhat below what etcd stores of one object. */
const enormous: readonly HostileObject[] = [
  object(hosts(10_000)),
  object(hosts(2000), { "enable-cors": "true", "cors-allow-origin": origins.join(",") }),
  object(
    hosts(3000),
    {},
    Array.from({ length: 3000 }, (_, i) => ({ secretName: `tls-${i}` })),
  ),
  object(longPaths(300)),
  object(longPaths(150), {
    "server-alias": Array.from({ length: 32 }, (_, i) => `a${i}.example.test`).join(","),
  }),
];

const certain: readonly HostileObject[] = [...published.map(publishedObject), ...enormous];

/** @param seed of one object: that of a run, - and its number */
export function objectOf(seed: string): HostileObject {
  const number = Number(/-(\d+)$/.exec(seed)?.[1]);
  return certain[number - 1] ?? hostileObject(new SeededRandom(seed));
}
