// Whatever a canary says: what comes of it is a row that proxies take, or nothing.
import assert from "node:assert/strict";
import { test } from "node:test";
import { decode, RouteRow } from "@sluice/contracts";
import fc from "fast-check";
import { buildFleet } from "./build-fleet.ts";
import type { KubeObject } from "./objects.ts";

const PREFIX = "nginx.ingress.kubernetes.io/";

function object(name: string, backend: string, annotations: Readonly<Record<string, string>>): KubeObject {
  const service = { name: backend, port: { number: 80 } };
  const paths = [{ path: "/", pathType: "Prefix", backend: { service } }];
  return {
    metadata: {
      name,
      namespace: "shop",
      // As an ordinary object the canary, which is first by name, would have the path.
      creationTimestamp: "2026-01-01T00:00:00Z",
      annotations: Object.fromEntries(
        Object.entries(annotations).map(([key, value]) => [PREFIX + key, value]),
      ),
    },
    spec: { ingressClassName: "nginx", rules: [{ host: "www.example.test", http: { paths } }] },
  };
}

function routeWith(annotations: Readonly<Record<string, string>>): RouteRow {
  const { rows } = buildFleet(
    {
      ingresses: [object("web", "web", {}), object("next", "next", annotations)],
      imports: ["web", "next"].map((name) => ({
        metadata: { namespace: "shop", name },
        spec: { ports: [{ port: 80 }] },
      })),
      classes: [],
      peers: [],
      exported: new Map(),
    },
    { fleet: "default", ingressClasses: ["nginx"], watchWithoutClass: false },
  );
  return decode(RouteRow, rows.get("default.routes.www_example_test"), "route");
}

const hostile = fc.oneof(
  fc.string({ unit: "grapheme", maxLength: 40 }),
  fc.constantFrom(
    "x\r\ny",
    "a".repeat(5000),
    "(",
    "(a+)+$",
    "\\1",
    "[[:alpha:]]",
    "$http_x",
    "0",
    "-1",
    "1e3",
    "٣",
  ),
);

test("whatever its annotations say, a canary's row fits its schema, and the path is the other object's", () => {
  const good = {
    "canary-by-header": fc.constantFrom("X-Canary", "x_b", "Ü"),
    "canary-by-header-value": fc.constantFrom("on", "always", "ü"),
    "canary-by-header-pattern": fc.constantFrom("^on$", "v[0-9]+", "(?i)yes"),
    "canary-by-cookie": fc.constantFrom("canary", "a b", "a;b"),
    "canary-weight": fc.constantFrom("0", "20", "100", "1000000", "1000001"),
    "canary-weight-total": fc.constantFrom("0", "50", "100", "1000"),
  };
  const annotations = fc.record(
    Object.fromEntries(Object.entries(good).map(([name, values]) => [name, fc.oneof(values, hostile)])),
    { requiredKeys: [] },
  );
  let seen = 0;
  fc.assert(
    fc.property(annotations, (said) => {
      const [path, ...others] = routeWith({ canary: "true", ...said }).paths;
      assert.deepEqual([path?.upstream, others], ["shop-web", []]);
      const { upstream, header, weight, of = 100, cookie, source } = path?.canary ?? {};
      assert.deepEqual(source?.name, path?.canary === undefined ? undefined : "next");
      assert.equal(upstream, "shop-next");
      if (header !== undefined) assert.match(header.name, /^[a-z0-9_]+$/);
      if (cookie !== undefined) assert.equal(cookie, said["canary-by-cookie"]?.trim());
      if (weight !== undefined) assert.equal(weight, Number(said["canary-weight"]));
      assert.ok(of >= 100);
      if (header !== undefined || weight !== undefined || cookie !== undefined) seen++;
    }),
    { numRuns: 400 },
  );
  assert.ok(seen > 100, `${seen} of 400 take anything`);
});

test("what may mean that an object is a canary never makes it an ordinary one", () => {
  for (const canary of ["TRUE", "yes", "on", "1", "tru", "ja", "True "]) {
    const [path, ...others] = routeWith({ canary, "canary-weight": "50" }).paths;
    assert.deepEqual([path?.upstream, others], ["shop-web", []], canary);
    assert.equal(path?.canary?.weight, /^(TRUE|1|True )$/.test(canary) ? 50 : undefined, canary);
  }
});
