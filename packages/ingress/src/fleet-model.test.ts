import assert from "node:assert/strict";
import { test } from "node:test";
import { decode, type FleetValue, fleetTable, type RouteRow, type TopologyPeers } from "@sluice/contracts";
import fc from "fast-check";
import { buildFleet, type World } from "./build-fleet.ts";
import { FleetModel, type FleetOptions } from "./fleet-model.ts";
import { type KubeObject, keyOf } from "./objects.ts";

const options: FleetOptions = { fleet: "default", ingressClasses: ["nginx"], watchWithoutClass: false };
const anyOptions = fc.constantFrom(options, {
  ...options,
  defaultBackend: { namespace: "shop", name: "derived-cart" },
});
const namespaces = ["shop", "echo"];
const services = ["web", "cart", "a-b"];

const backend = fc.oneof(
  fc.record({
    service: fc.record({
      name: fc.constantFrom(...services, "derived-web", "nowhere"),
      port: fc.constantFrom({ number: 80 }, { name: "admin" }, { number: 7 }),
    }),
  }),
  fc.constant({ resource: { kind: "Bucket", name: "files" } }),
);
const path = fc.record({
  path: fc.constantFrom("/", "/a", "/a/", "/a/b", "/(a|b)", "/a(", "no-slash"),
  pathType: fc.constantFrom("Exact", "Prefix", "ImplementationSpecific", "Other"),
  backend,
});
const rule = fc.record({
  host: fc.constantFrom("", "www.example.test", "*.example.test", "bad_host"),
  http: fc.record({ paths: fc.array(path, { minLength: 1, maxLength: 3 }) }),
});
const annotations = fc.constantFrom(
  {},
  { "nginx.ingress.kubernetes.io/auth-url": "x" },
  { "nginx.ingress.kubernetes.io/proxy-read-timeout": "120" },
  {
    "nginx.ingress.kubernetes.io/proxy-body-size": "8m",
    "nginx.ingress.kubernetes.io/proxy-buffering": "maybe",
  },
  { "nginx.ingress.kubernetes.io/app-root": "/app" },
  { "nginx.ingress.kubernetes.io/temporal-redirect": "https://www.example.test/" },
  { "nginx.ingress.kubernetes.io/use-regex": "true" },
  {
    "nginx.ingress.kubernetes.io/rewrite-target": "/a",
    "nginx.ingress.kubernetes.io/x-forwarded-prefix": "/$1",
    "nginx.ingress.kubernetes.io/default-backend": "cart",
  },
  { "nginx.ingress.kubernetes.io/rewrite-target": "https://new.example.test/$1?" },
  { "nginx.ingress.kubernetes.io/server-alias": "example.test, www.example.test" },
  {
    "nginx.ingress.kubernetes.io/server-alias": "example.test, other.example.test",
    "nginx.ingress.kubernetes.io/from-to-www-redirect": "true",
  },
  { "nginx.ingress.kubernetes.io/canary": "true", "nginx.ingress.kubernetes.io/canary-weight": "30" },
  {
    "nginx.ingress.kubernetes.io/canary": "true",
    "nginx.ingress.kubernetes.io/canary-by-header": "X-Canary",
    "nginx.ingress.kubernetes.io/affinity": "cookie",
    "nginx.ingress.kubernetes.io/affinity-canary-behavior": "legacy",
  },
  { "other/x": "y" },
);
const creationTimestamp = fc.constantFrom("2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z");
const ingress: fc.Arbitrary<KubeObject> = fc.record({
  metadata: fc.record({
    namespace: fc.constantFrom(...namespaces),
    name: fc.constantFrom("one", "two", "three"),
    creationTimestamp,
    annotations,
  }),
  spec: fc.record(
    {
      ingressClassName: fc.constantFrom("nginx", "nginx", "nginx", "other"),
      rules: fc.array(rule, { maxLength: 3 }),
      defaultBackend: backend,
    },
    { requiredKeys: ["ingressClassName", "rules"] },
  ),
});
const imported: fc.Arbitrary<KubeObject> = fc.record({
  metadata: fc.record({
    namespace: fc.constantFrom(...namespaces),
    name: fc.constantFrom(...services),
    annotations: fc.constantFrom({}, { "sluice.dev/from-clusters": "member1" }),
  }),
  spec: fc.record({ ports: fc.constantFrom([{ port: 80 }], [{ port: 80, name: "admin" }], []) }),
});
const ingressClass: fc.Arbitrary<KubeObject> = fc.record({
  metadata: fc.record({
    name: fc.constantFrom("nginx", "other"),
    annotations: fc.constantFrom({}, { "ingressclass.kubernetes.io/is-default-class": "true" }),
  }),
});
const peers: fc.Arbitrary<TopologyPeers> = fc.record({
  namespace: fc.constantFrom(...namespaces),
  service: fc.constantFrom(...services),
  cluster: fc.constantFrom("member1", "member2"),
  ports: fc.constantFrom({ "": [{ address: "192.0.2.1", port: 8080 }] }, { admin: [] }),
});
const unique = <T>(of: fc.Arbitrary<T>, selector: (value: T) => string) =>
  fc.uniqueArray(of, { selector, maxLength: 8 });
const world: fc.Arbitrary<World> = fc.record({
  ingresses: unique(ingress, keyOf),
  imports: unique(imported, keyOf),
  classes: unique(ingressClass, keyOf),
  peers: unique(peers, (p) => `${p.namespace}/${p.service}/${p.cluster}`),
  exported: fc.constantFrom(new Map([["shop/web", new Set([""])]]), new Map<string, Set<string>>()),
});

test("the order of objects does not matter", () => {
  fc.assert(
    fc.property(world, fc.infiniteStream(fc.nat()), (given, random) => {
      const shuffle = <T>(items: Iterable<T>): T[] =>
        [...items]
          .map((item) => [random.next().value as number, item] as const)
          .sort(([a], [b]) => a - b)
          .map(([, item]) => item);
      const shuffled: World = {
        ingresses: shuffle(given.ingresses),
        imports: shuffle(given.imports),
        classes: shuffle(given.classes),
        peers: shuffle(given.peers),
        exported: given.exported,
      };
      assert.deepEqual(buildFleet(shuffled, options), buildFleet(given, options));
    }),
  );
});

test("every row fits its schema", () => {
  fc.assert(
    fc.property(world, (given) => {
      for (const [key, row] of buildFleet(given, options).rows) {
        const schema = fleetTable.schemaOf(key);
        assert.ok(schema !== null, key);
        decode(schema, row, key);
      }
    }),
  );
});

test("one bad object changes no row of others and never throws", () => {
  const bad = fc.oneof(
    fc.anything(),
    fc.record({ ingressClassName: fc.constant("nginx"), rules: fc.anything(), tls: fc.anything() }),
    fc.record({ ingressClassName: fc.constant("nginx"), rules: fc.array(fc.anything()) }),
    fc.record({
      ingressClassName: fc.constant("nginx"),
      rules: fc.array(
        fc.record({ host: fc.constant("bad.test"), http: fc.record({ paths: fc.array(fc.anything()) }) }),
      ),
    }),
  );
  fc.assert(
    fc.property(world, bad, fc.anything(), (given, ingressSpec, importSpec) => {
      const before = buildFleet(given, options);
      const metadata = { namespace: "bad", name: "bad" };
      const after = buildFleet(
        {
          ...given,
          ingresses: [{ metadata, spec: ingressSpec }, ...given.ingresses],
          imports: [{ metadata, spec: importSpec }, ...given.imports],
        },
        options,
      );
      for (const [key, row] of before.rows) assert.deepEqual(after.rows.get(key), row, key);
      const others = after.verdicts.filter((v) => v.object.namespace !== "bad");
      assert.deepEqual(others, before.verdicts);
    }),
  );
});

test("a canary changes nothing of a row but that it stands there, whatever there is", () => {
  const isCanary = ({ metadata }: KubeObject) =>
    metadata.annotations?.["nginx.ingress.kubernetes.io/canary"] !== undefined;
  const without = (row: FleetValue | undefined) => {
    if (row === undefined || !("paths" in row)) return row;
    return { ...row, paths: row.paths.map(({ canary: _, ...path }) => path) };
  };
  fc.assert(
    fc.property(world, (given) => {
      const ingresses = [...given.ingresses];
      const main = buildFleet({ ...given, ingresses: ingresses.filter((each) => !isCanary(each)) }, options);
      const { rows } = buildFleet({ ...given, ingresses }, options);
      for (const [key, row] of rows) {
        if (key.startsWith("default.routes.")) assert.deepEqual(without(row), main.rows.get(key), key);
      }
      for (const [key, row] of main.rows) assert.deepEqual(without(rows.get(key)), row, key);
    }),
  );
});

test("every path of a valid object is in exactly one row", () => {
  const valid = fc.uniqueArray(
    fc.tuple(
      fc.constantFrom("", "www.example.test", "*.example.test"),
      fc.constantFrom("Exact", "Prefix"),
      fc.stringMatching(/^(\/[a-z]{1,2}){1,3}$/),
    ),
    { selector: (parts) => parts.join(" "), minLength: 1 },
  );
  fc.assert(
    fc.property(valid, (paths) => {
      const rules = paths.map(([host, pathType, path]) => ({
        host,
        http: { paths: [{ path, pathType, backend: { service: { name: "web", port: { number: 80 } } } }] },
      }));
      const metadata = { name: "web", namespace: "shop" };
      const { rows, verdicts } = buildFleet(
        {
          ingresses: [{ metadata, spec: { ingressClassName: "nginx", rules } }],
          imports: [{ metadata, spec: { ports: [{ port: 80 }] } }],
          classes: [],
          peers: [],
          exported: new Map(),
        },
        options,
      );
      assert.deepEqual(verdicts, []);
      const served: string[] = [];
      for (const [key, row] of rows) {
        if (!key.startsWith("default.routes.")) continue;
        const route = row as RouteRow;
        for (const path of route.paths) {
          assert.equal(path.upstream, "shop-web");
          served.push([route.host, path.type, path.path].join(" "));
        }
      }
      assert.deepEqual(served.sort(), paths.map((parts) => parts.join(" ")).sort());
    }),
  );
});

test("an object that asks for regular expressions takes no path away from others on a host with very many", () => {
  const backend = { service: { name: "web", port: { number: 80 } } };
  const object = (name: string, day: string, paths: readonly string[], annotations = {}) => ({
    metadata: { namespace: "shop", name, creationTimestamp: `2026-01-${day}T00:00:00Z`, annotations },
    spec: {
      ingressClassName: "nginx",
      rules: [
        {
          host: "www.example.test",
          http: { paths: paths.map((path) => ({ path, pathType: "Prefix", backend })) },
        },
      ],
    },
  });
  const many = Array.from({ length: 3000 }, (_, i) => `/p${i}`);
  const { rows, verdicts } = buildFleet(
    {
      ingresses: [
        object(
          "one",
          "01",
          Array.from({ length: 1001 }, (_, i) => `/r${i}[a-z]`),
          { "nginx.ingress.kubernetes.io/use-regex": "true" },
        ),
        object("two", "02", many),
      ],
      imports: [{ metadata: { namespace: "shop", name: "web" }, spec: { ports: [{ port: 80 }] } }],
      classes: [],
      peers: [],
      exported: new Map(),
    },
    options,
  );
  const { paths } = [...rows.values()].find((row): row is RouteRow => "host" in row) as RouteRow;
  assert.deepEqual(
    paths
      .filter((path) => path.regex !== true)
      .map((path) => path.path)
      .sort(),
    many.sort(),
  );
  assert.equal(paths.filter((path) => path.regex === true).length, 1000);
  assert.deepEqual(
    verdicts.map(({ object: { name }, reason }) => [name, reason]),
    [["one", "PathInvalid"]],
  );
});

type Step =
  | { readonly on: "ingress" | "import" | "class"; readonly object: KubeObject; readonly remove: boolean }
  | { readonly on: "settle" };
const step: fc.Arbitrary<Step> = fc.oneof(
  fc.record({ on: fc.constant("ingress" as const), object: ingress, remove: fc.boolean() }),
  fc.record({ on: fc.constant("import" as const), object: imported, remove: fc.boolean() }),
  fc.record({ on: fc.constant("class" as const), object: ingressClass, remove: fc.boolean() }),
  fc.record({ on: fc.constant("settle" as const) }),
);

test("a model that is kept current object by object equals one that is built from what is left", () => {
  fc.assert(
    fc.property(
      anyOptions,
      fc.array(step, { maxLength: 40 }),
      fc.array(peers, { maxLength: 4 }),
      (of, steps, records) => {
        const model = new FleetModel(of);
        const rows = new Map<string, FleetValue>();
        const said = new Map<string, unknown>();
        const settle = () => {
          const changes = model.settle();
          for (const [key, row] of changes.rows) row === null ? rows.delete(key) : rows.set(key, row);
          for (const [key, verdicts] of changes.verdicts) {
            if (verdicts.length === 0) said.delete(key);
            else said.set(key, verdicts);
          }
        };
        const left = {
          ingress: new Map<string, KubeObject>(),
          import: new Map<string, KubeObject>(),
          class: new Map<string, KubeObject>(),
        };
        for (const s of steps) {
          if (s.on === "settle") {
            settle();
            continue;
          }
          const key = keyOf(s.object);
          if (s.remove) left[s.on].delete(key);
          else left[s.on].set(key, s.object);
          if (s.on === "ingress") s.remove ? model.removeIngress(key) : model.setIngress(s.object);
          if (s.on === "import") s.remove ? model.removeImport(key) : model.setImport(s.object);
          if (s.on === "class")
            s.remove ? model.removeClass(s.object.metadata.name) : model.setClass(s.object);
        }
        settle();
        const peerRows = new Map<string, FleetValue>();
        const latest = new Map(records.map((r) => [`${r.namespace}/${r.service}/${r.cluster}`, r]));
        for (const record of latest.values()) {
          for (const [key, row] of model.peerRows(record)) if (row !== null) peerRows.set(key, row);
        }
        const fresh = buildFleet(
          {
            ingresses: left.ingress.values(),
            imports: left.import.values(),
            classes: left.class.values(),
            peers: latest.values(),
            exported: new Map(),
          },
          of,
        );
        assert.deepEqual(new Map([...rows, ...peerRows]), fresh.rows);
        assert.deepEqual([...said.values()].flat().length, fresh.verdicts.length);
      },
    ),
  );
});

test("a change of one import names the hosts and services that it touches and no others", () => {
  const model = new FleetModel(options);
  for (const name of ["web", "cart"]) {
    model.setImport({ metadata: { namespace: "shop", name }, spec: { ports: [{ port: 80 }] } });
    const paths = [{ path: "/", pathType: "Prefix", backend: { service: { name, port: { number: 80 } } } }];
    const rules = [{ host: `${name}.example.test`, http: { paths } }];
    model.setIngress({ metadata: { namespace: "shop", name }, spec: { ingressClassName: "nginx", rules } });
  }
  model.settle();
  model.setImport({
    metadata: { namespace: "shop", name: "web" },
    spec: { ports: [{ port: 80, name: "http" }] },
  });
  const changes = model.settle();
  assert.deepEqual([...changes.rows.keys()].sort(), [
    "default.routes.web_example_test",
    "default.upstreams.shop-web",
    "default.upstreams.shop-web-http",
  ]);
  assert.deepEqual([...changes.services], ["shop/web"]);
  assert.deepEqual(
    changes.removedUpstreams.map((u) => u.id),
    ["shop-web"],
  );
});
