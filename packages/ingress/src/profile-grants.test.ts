import assert from "node:assert/strict";
import { test } from "node:test";
import type { RouteRow } from "@sluice/contracts";
import fc from "fast-check";
import { buildFleet } from "./build-fleet.ts";
import { FleetModel } from "./fleet-model.ts";
import type { MultiClusterIngress } from "./objects.ts";
import { defaultProfile, profileOf } from "./profile.ts";

const options = { fleet: "default", ingressClasses: ["nginx"], watchWithoutClass: false, maxProfiles: 3 };

/** Its host is its name; `seconds`: the read timeout that it asks for. */
function ingress(
  name: string,
  seconds: number | null,
  { namespace = "shop", age = 0, more = {} as Record<string, string> } = {},
): MultiClusterIngress {
  const annotations: Record<string, string> = { ...more };
  if (seconds !== null) annotations["nginx.ingress.kubernetes.io/proxy-read-timeout"] = String(seconds);
  return {
    metadata: {
      namespace,
      name,
      creationTimestamp: new Date(Date.UTC(2026, 0, 100 - age)).toISOString(),
      annotations,
    },
    spec: {
      ingressClassName: "nginx",
      rules: [
        {
          host: `${name}.example.test`,
          http: {
            paths: [
              { path: "/", pathType: "Prefix", backend: { service: { name: "web", port: { number: 80 } } } },
            ],
          },
        },
      ],
    },
  };
}

const hashOf = (seconds: number) => profileOf({ readTimeoutMs: seconds * 1000 }).hash;
const profileAt = (rows: ReadonlyMap<string, unknown>, name: string) =>
  (rows.get(`default.routes.${name}_example_test`) as RouteRow | undefined)?.paths[0]?.profile;

function built(ingresses: readonly MultiClusterIngress[]) {
  const imports = ["shop", "other"].map((namespace) => ({
    metadata: { namespace, name: "web" },
    spec: { ports: [{ port: 80 }] },
  }));
  const { rows, verdicts } = buildFleet(
    { ingresses, imports, classes: [], peers: [], exported: new Map() },
    options,
  );
  const profiles = [...rows.keys()].filter((key) => key.startsWith("default.profiles.")).length - 1;
  const told = verdicts.filter(({ reason }) => reason === "ProfileLimit").map(({ object }) => object.name);
  return { rows, profiles, told };
}

test("the oldest get their sizes and times, the rest are served by the defaults and told so", () => {
  const many = Array.from({ length: 10 }, (_, i) => ingress(`shop-${i}`, 100 + i, { age: i }));
  const { rows, profiles, told } = built(many);
  assert.equal(profiles, 3);
  for (const i of [7, 8, 9]) assert.equal(profileAt(rows, `shop-${i}`), hashOf(100 + i));
  for (const i of [0, 6]) assert.equal(profileAt(rows, `shop-${i}`), defaultProfile.hash);
  assert.deepEqual(
    told.sort(),
    many.slice(0, 7).map(({ metadata }) => metadata.name),
  );
});

test("a namespace with very many of them takes no room from another, and one that two share counts once", () => {
  const many = Array.from({ length: 10 }, (_, i) => ingress(`shop-${i}`, 100 + i, { age: 50 + i }));
  const small = ingress("small", 300, { namespace: "other" });
  const shared = ingress("shared", 109, { namespace: "other", age: 1 });
  const { rows, profiles } = built([...many, small, shared]);
  assert.equal(profiles, 3);
  assert.equal(profileAt(rows, "small"), hashOf(300));
  assert.equal(profileAt(rows, "shared"), hashOf(109));
});

test("what an object cannot do without is kept when its sizes and times are not", () => {
  const many = Array.from({ length: 3 }, (_, i) => ingress(`shop-${i}`, 100 + i, { age: 5 }));
  const more = { "nginx.ingress.kubernetes.io/rewrite-target": "/x" };
  const { rows, profiles } = built([...many, ingress("rewritten", 200, { more })]);
  assert.equal(profileAt(rows, "rewritten"), profileOf({ rewrites: true }).hash);
  assert.equal(profiles, 4);
});

test("a refused profile is nobody's until its object asks for another, and its own object alone is told", () => {
  const model = new FleetModel(options);
  model.setIngress(ingress("bad", 100));
  model.setIngress(ingress("good", 200));
  model.settle();
  assert.ok(model.refuseProfiles([{ hash: hashOf(100), proxy: "proxy-1", why: "it broke" }]));
  const { rows, verdicts } = model.settle();
  assert.equal(profileAt(rows, "bad"), defaultProfile.hash);
  assert.equal(rows.get(`default.profiles.${hashOf(100)}`), null);
  assert.deepEqual([...verdicts.keys()], ["MultiClusterIngress shop/bad"]);
  const [said] = verdicts.get("MultiClusterIngress shop/bad") ?? [];
  assert.equal(said?.reason, "ProfileRefused");
  assert.match(said?.message ?? "", /proxy proxy-1 could not run with these settings \(it broke\)/);
  // It is still what the object asks for: who gave it up may see by that when it may be tried again.
  assert.deepEqual([...model.profiles().keys()].sort(), [hashOf(100), hashOf(200)].sort());
  model.setIngress(ingress("bad", 101));
  assert.equal(profileAt(model.settle().rows, "bad"), hashOf(101));
  assert.deepEqual([...model.profiles().keys()].sort(), [hashOf(101), hashOf(200)].sort());
});

test("where more than sizes and times would be missing, a refused profile closes its paths", () => {
  const model = new FleetModel(options);
  const more = { "nginx.ingress.kubernetes.io/rewrite-target": "/x" };
  model.setIngress(ingress("rewritten", null, { more }));
  model.settle();
  model.refuseProfiles([{ hash: profileOf({ rewrites: true }).hash, proxy: "proxy-1", why: "it broke" }]);
  const row = model.settle().rows.get("default.routes.rewritten_example_test") as RouteRow;
  assert.deepEqual([row.paths[0]?.upstream, row.paths[0]?.profile], [null, defaultProfile.hash]);
  assert.match(row.paths[0]?.problem ?? "", /its paths answer 503/);
});

test("whatever comes and goes, the fleet has the profiles that a fresh model would give it, and no more than it may", () => {
  const change = fc.record({
    name: fc.constantFrom("a", "b", "c", "d", "e", "f"),
    seconds: fc.option(fc.integer({ min: 100, max: 106 })),
    there: fc.boolean(),
    namespace: fc.constantFrom("shop", "other"),
  });
  fc.assert(
    fc.property(
      fc.array(change, { minLength: 1, maxLength: 25 }),
      fc.subarray([100, 101, 102, 103]),
      (changes, bad) => {
        const refused = bad.map((seconds) => ({ hash: hashOf(seconds), proxy: "proxy-1", why: "it broke" }));
        const model = new FleetModel(options);
        const rows = new Map<string, unknown>();
        const left = new Map<string, MultiClusterIngress>();
        const settle = (of: FleetModel, into: Map<string, unknown>) => {
          for (const [key, row] of of.settle().rows) {
            if (row === null) into.delete(key);
            else into.set(key, row);
          }
          return into;
        };
        for (const [i, { name, seconds, there, namespace }] of changes.entries()) {
          const object = ingress(name, seconds, { namespace, age: name.charCodeAt(0) });
          const key = `${namespace}/${name}`;
          if (there) {
            model.setIngress(object);
            left.set(key, object);
          } else {
            model.removeIngress(key);
            left.delete(key);
          }
          if (i === changes.length >> 1) model.refuseProfiles(refused);
          settle(model, rows);
        }
        const fresh = new FleetModel(options);
        for (const object of left.values()) fresh.setIngress(object);
        fresh.refuseProfiles(refused);
        assert.deepEqual(new Map([...rows].sort()), new Map([...settle(fresh, new Map())].sort()));
        const profiles = [...rows.keys()].filter((key) => key.startsWith("default.profiles."));
        assert.ok(profiles.length <= options.maxProfiles + 1, profiles.join());
      },
    ),
    { numRuns: 300 },
  );
});
