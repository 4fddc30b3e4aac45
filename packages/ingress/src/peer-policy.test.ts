import assert from "node:assert/strict";
import { test } from "node:test";
import { decode, HealthCheck, PeerPolicy, type UpstreamRow } from "@sluice/contracts";
import fc from "fast-check";
import { FleetModel } from "./fleet-model.ts";
import { readPeerPolicy } from "./peer-policy.ts";

const read = (annotations: Readonly<Record<string, string>>) => {
  const said: string[] = [];
  const given = Object.entries(annotations).map(([name, text]) => [`sluice.dev/${name}`, text] as const);
  return { policy: readPeerPolicy(new Map(given), (message) => said.push(message)), said };
};

test("a check is what it asks, how often and how many times, and what is not said has its own value", () => {
  const table: [string, HealthCheck][] = [
    ["tcp", { kind: "tcp", intervalMs: 5000, timeoutMs: 1000, misses: 2, passes: 2 }],
    ["http", { kind: "http", path: "/", intervalMs: 5000, timeoutMs: 1000, misses: 2, passes: 2 }],
    [
      " http  path=/healthz interval=250ms misses=3 status=200-299 host=shop.example.test ",
      {
        kind: "http",
        path: "/healthz",
        host: "shop.example.test",
        intervalMs: 250,
        timeoutMs: 250,
        misses: 3,
        passes: 2,
        statusFrom: 200,
        statusTo: 299,
      },
    ],
    [
      "http status=204",
      {
        kind: "http",
        path: "/",
        intervalMs: 5000,
        timeoutMs: 1000,
        misses: 2,
        passes: 2,
        statusFrom: 204,
        statusTo: 204,
      },
    ],
    [
      "grpc service=shop.Cart interval=2s timeout=1m passes=5",
      { kind: "grpc", service: "shop.Cart", intervalMs: 2000, timeoutMs: 60_000, misses: 2, passes: 5 },
    ],
  ];
  for (const [text, check] of [...table]) {
    // By TLS the same may be said.
    const { kind, ...rest } = check;
    if (kind !== "tcp") table.push([text.replace(kind, `${kind}s`), { kind: `${kind}s`, ...rest }]);
  }
  for (const [text, check] of table) {
    const { policy, said } = read({ "health-check": text });
    assert.deepEqual([policy, said], [{ check }, []], text);
  }
});

test("what is of another shape is told and as if it were not there", () => {
  for (const text of [
    "ping",
    "http /healthz",
    "http path=healthz",
    "http path=/a path=/b",
    "http path=/a\u0000b",
    "http interval=250",
    "http interval=10ms",
    "http misses=0",
    "http status=200-100",
    "http status=ok",
    "tcp path=/",
    "grpc service=",
    "constructor",
    "http toString=1",
  ]) {
    const { policy, said } = read({ "health-check": text });
    assert.deepEqual(policy, {}, text);
    assert.equal(said.length, 1);
    assert.match(
      said[0] ?? "",
      /^metadata\.annotations\[sluice\.dev\/health-check\]: .* is not http, https, tcp, grpc or grpcs/,
    );
  }
  for (const [name, text] of [
    ["slow-start", "30"],
    ["slow-start", "100ms"],
    ["max-connections", "0"],
    ["max-connections", "many"],
    ["panic-threshold", "101"],
  ] as const) {
    const { policy, said } = read({ [name]: text });
    assert.deepEqual([policy, said.length], [{}, 1], `${name}: ${text}`);
  }
});

test("slow start, connections and the panic threshold are numbers of the upstream", () => {
  const { policy, said } = read({ "slow-start": "30s", "max-connections": "100", "panic-threshold": "50" });
  assert.deepEqual([policy, said], [{ slowStartMs: 30_000, maxConnections: 100, panicPercent: 50 }, []]);
});

test("whatever is written, what is read of it stands in a row", () => {
  const word = fc.oneof(
    fc.constantFrom("http", "tcp", "grpc", "interval=1s", "timeout=500ms", "misses=1", "passes=100"),
    fc
      .tuple(fc.constantFrom("path", "host", "service", "status", "interval", "__proto__"), fc.string())
      .map(([name, value]) => `${name}=${value}`),
    fc.string(),
  );
  fc.assert(
    fc.property(fc.array(word, { maxLength: 6 }), (words) => {
      const text = words.join(" ");
      const { policy, said } = read({ "health-check": text, "slow-start": text, "panic-threshold": text });
      decode(PeerPolicy, policy, "policy");
      if (policy.check !== undefined) decode(HealthCheck, policy.check, "check");
      assert.ok(said.length <= 3);
    }),
    { numRuns: 1000 },
  );
});

test("what an import says of its peers reaches every upstream of it, and a change of it does", () => {
  const model = new FleetModel({ fleet: "default", ingressClasses: ["nginx"], watchWithoutClass: false });
  const imported = (annotations: Readonly<Record<string, string>>) =>
    model.setImport({
      metadata: { namespace: "shop", name: "web", annotations },
      spec: { ports: [{ port: 80 }, { name: "admin", port: 81 }] },
    });
  const path = (number: number) => ({
    path: `/${number}`,
    pathType: "Prefix",
    backend: { service: { name: "web", port: { number } } },
  });
  imported({});
  for (const host of ["shop.example.test", "cart.example.test"]) {
    model.setIngress({
      metadata: { namespace: "shop", name: host.split(".")[0] ?? "" },
      spec: { ingressClassName: "nginx", rules: [{ host, http: { paths: [path(80), path(81)] } }] },
    });
  }
  const upstreams = () =>
    [...model.settle().rows]
      .filter(([key]) => key.split(".")[1] === "upstreams")
      .map(([, row]) => row as UpstreamRow | null);
  assert.deepEqual(
    upstreams().map((row) => row?.check),
    [undefined, undefined],
  );
  imported({ "sluice.dev/health-check": "tcp", "sluice.dev/max-connections": "7" });
  const changed = upstreams();
  assert.equal(changed.length, 2);
  for (const row of changed) assert.deepEqual([row?.check?.kind, row?.maxConnections], ["tcp", 7]);
  imported({ "sluice.dev/health-check": "tcp", "sluice.dev/max-connections": "7" });
  assert.deepEqual(upstreams(), [], "the same again is no change");
  imported({});
  for (const row of upstreams()) assert.deepEqual([row?.check, row?.maxConnections], [undefined, undefined]);
  // One of two hosts goes: the upstream is still the other's, as it is now.
  imported({ "sluice.dev/health-check": "http" });
  model.removeIngress("shop/cart");
  const rows = upstreams();
  assert.equal(rows.length, 2);
  for (const row of rows) assert.equal(row?.check?.kind, "http");
});
