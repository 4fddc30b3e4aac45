import assert from "node:assert/strict";
import { test } from "node:test";
import type { RouteRow } from "@sluice/contracts";
import { buildFleet } from "./build-fleet.ts";
import type { KubeObject } from "./objects.ts";

/** What a bus takes of one record where nobody says otherwise. */
const RECORD = 1024 * 1024;
const HOST = "shop.example.test";
const MEBIBYTE = 1024 * 1024;

interface Written {
  readonly name: string;
  readonly namespace?: string;
  readonly year: number;
  readonly rules: readonly { readonly host: string; readonly paths: readonly string[] }[];
  readonly annotations?: Readonly<Record<string, string>>;
}

function object({ name, namespace = "shop", year, rules, annotations = {} }: Written): KubeObject {
  const backend = { service: { name: "web", port: { number: 80 } } };
  return {
    metadata: {
      namespace,
      name,
      creationTimestamp: `${year}-01-01T00:00:00Z`,
      annotations: Object.fromEntries(
        Object.entries(annotations).map(([key, value]) => [`nginx.ingress.kubernetes.io/${key}`, value]),
      ),
    },
    spec: {
      ingressClassName: "nginx",
      rules: rules.map(({ host, paths }) => ({
        host,
        http: { paths: paths.map((path) => ({ path, pathType: "Prefix", backend })) },
      })),
    },
  };
}

function built(...objects: readonly Written[]) {
  const { rows, verdicts } = buildFleet(
    {
      ingresses: objects.map(object),
      imports: ["shop", "other"].map((namespace) => ({
        metadata: { namespace, name: "web" },
        spec: { ports: [{ port: 80 }] },
      })),
      classes: [],
      peers: [],
      exported: new Map(),
    },
    { fleet: "default", ingressClasses: ["nginx"], watchWithoutClass: false, servesTls: true },
  );
  const routes = new Map<string, RouteRow>();
  for (const row of rows.values()) if ("paths" in row) routes.set(row.host, row);
  const bytesOf = (row: RouteRow) => Buffer.byteLength(JSON.stringify(row));
  const pathsOf = (host: string, name: string) =>
    (routes.get(host)?.paths ?? []).filter(({ source }) => source.name === name).map(({ path }) => path);
  return {
    routes,
    pathsOf,
    bytes: [...routes.values()].reduce((sum, row) => sum + bytesOf(row), 0),
    largest: Math.max(...[...routes.values()].map(bytesOf)),
    said: verdicts.filter(({ reason }) => reason === "NoRoom"),
  };
}

const long = (count: number) => Array.from({ length: count }, (_, i) => `/p${i}/${"x".repeat(4000)}`);
const aliases = (count: number) => Array.from({ length: count }, (_, i) => `a${i}.example.test`).join(",");

test("an object that fills the row of a host takes nothing from an older one there, and is told what is left out", () => {
  const old = { name: "old", year: 2025, rules: [{ host: HOST, paths: ["/", "/cart"] }] };
  const young = { name: "young", namespace: "other", year: 2026, rules: [{ host: HOST, paths: long(300) }] };
  const { pathsOf, largest, said } = built(young, old);
  assert.ok(largest < RECORD, `${largest} bytes`);
  assert.deepEqual(pathsOf(HOST, "old"), ["/", "/cart"]);
  const left = 300 - pathsOf(HOST, "young").length;
  assert.ok(left > 0 && left < 150, `${left} paths are left out`);
  assert.deepEqual(
    said.map(({ object: { namespace, name }, message }) => [`${namespace}/${name}`, message.slice(0, 56)]),
    [["other/young", `spec.rules: host "${HOST}" has more and longer`]],
  );
  assert.ok(said[0]?.message.includes(`and ${left - 1} more of its paths are left out`), said[0]?.message);
  // Whoever was there first with as much as a row holds keeps it.
  const first = { ...young, year: 2024 };
  const late = built(first, {
    ...old,
    rules: [{ host: HOST, paths: long(50).map((path) => `/late${path}`) }],
  });
  assert.deepEqual(late.pathsOf(HOST, "old"), []);
  assert.deepEqual(late.pathsOf(HOST, "young"), built(first).pathsOf(HOST, "young"));
});

test("a row of which nothing is left out is as it was, down to the last byte that it may have", () => {
  const { said, largest, pathsOf } = built({
    name: "web",
    year: 2026,
    rules: [{ host: HOST, paths: long(200) }],
  });
  assert.deepEqual([said, pathsOf(HOST, "web").length], [[], 200]);
  assert.ok(largest > 800_000, `${largest} bytes`);
});

test("what every path of a host gets besides counts too, such as where clients without a certificate are sent", () => {
  const rules = [{ host: HOST, paths: Array.from({ length: 2000 }, (_, i) => `/p${i}`) }];
  const annotations = {
    "auth-tls-secret": "clients",
    "auth-tls-error-page": `https://example.test/${"x".repeat(1900)}`,
  };
  const { largest, said } = built({ name: "web", year: 2026, rules, annotations });
  assert.ok(largest < RECORD, `${largest} bytes`);
  assert.equal(said.length, 2, "one for the object, one for the host");
});

test("all routes of one object take four mebibytes at most, however many hosts it has", () => {
  const rules = Array.from({ length: 2000 }, (_, i) => ({ host: `h${i}.example.test`, paths: ["/"] }));
  const label = "x".repeat(60);
  const origins = Array.from({ length: 64 }, (_, i) => `https://h${i}.${label}.${label}.${label}.test`);
  const annotations = { "enable-cors": "true", "cors-allow-origin": origins.join(",") };
  const { bytes, routes, said } = built({ name: "web", year: 2026, rules, annotations });
  assert.ok(bytes > 3.5 * MEBIBYTE && bytes < 4.1 * MEBIBYTE, `${bytes} bytes`);
  assert.ok(routes.has("h0.example.test") && !routes.has("h1999.example.test"));
  assert.equal(said.length, 1);
  assert.match(
    said[0]?.message ?? "",
    /^spec\.rules\[\d+\]\.http\.paths\[0\]\.backend: all routes of an object take 4 MiB/,
  );
});

test("copies under other names take as much again, and a name that has none is told", () => {
  const rules = [{ host: HOST, paths: long(200) }];
  const { bytes, routes, said } = built({
    name: "web",
    year: 2026,
    rules,
    annotations: { "server-alias": aliases(32) },
  });
  assert.ok(bytes < 5.1 * MEBIBYTE, `${bytes} bytes`);
  assert.ok(routes.has("a0.example.test") && !routes.has("a31.example.test"));
  assert.match(
    said[0]?.message ?? "",
    /a\d+\.example\.test as another name of "shop\.example\.test" is left out/,
  );
  // Ordinary ones all are served.
  const few = built({
    name: "web",
    year: 2026,
    rules: [{ host: HOST, paths: ["/", "/cart"] }],
    annotations: { "server-alias": aliases(32) },
  });
  assert.deepEqual([few.routes.size, few.said], [33, []]);
});
