import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type Type from "typebox";
import { decode, decodeEnvelope, encodeEnvelope } from "./envelope.ts";
import { BadRecordError } from "./errors.ts";
import { fleetKeys, plainKeys, sliceKeys, topologyKeys } from "./keys.ts";
import * as records from "./records.ts";
import { allTables, type TableSpec } from "./tables.ts";

const service = { namespace: "shop", service: "web" };
const inMember = { cluster: "member1", ...service };
const port = { name: "http", port: 80, protocol: "TCP" };
const peers = [
  { address: "10.4.0.7", port: 8080 },
  { address: "10.4.0.8", port: 8080, draining: true },
];
const source = { kind: "MultiClusterIngress", namespace: "shop", name: "front" };

/** Of each table its records by key: complete ones, as their writers make them. */
const examples: Readonly<Record<string, Readonly<Record<string, Readonly<Record<string, unknown>>>>>> = {
  slices: {
    [sliceKeys.slice("member1", "shop", "web", "web-x7k2p")]: {
      ...inMember,
      slice: "web-x7k2p",
      addressType: "IPv4",
      ports: [
        { name: "", port: null, protocol: "TCP" },
        { ...port, appProtocol: "http" },
      ],
      endpoints: [{ addresses: ["10.4.0.7"], ready: true, serving: true, terminating: false, zone: "a" }],
    },
    [sliceKeys.export("member1", "shop", "web")]: {
      ...inMember,
      createdAt: 1_790_000_000_000,
      type: "ClusterSetIP",
      ipFamilies: ["IPv4"],
      ports: [port],
    },
  },
  clusters: {
    [plainKeys.cluster("member1")]: {
      cluster: "member1",
      heartbeatAt: 1_790_000_000_000,
      api: { reachable: false, since: 1_790_000_000_000, error: "connect ECONNREFUSED" },
      kubernetesVersion: "v1.33.1",
      labels: { region: "north" },
      nodeCidrs: ["10.4.0.0/24"],
      waiting: ["serviceexports.multicluster.x-k8s.io"],
      exports: 0,
      watcher: "member-watcher.a",
    },
  },
  intents: {
    [plainKeys.intent("drain", "member1")]: {
      verb: "drain",
      cluster: "member1",
      at: 1_790_000_000_000,
      by: "ops",
      reason: "new kernel",
    },
  },
  verdicts: {
    [plainKeys.verdict("member1", "shop", "web")]: {
      ...inMember,
      conditions: [
        { type: "Conflict", status: "True", reason: "PortConflict", message: "port http differs" },
      ],
    },
  },
  topology: {
    [topologyKeys.service("shop", "web")]: {
      ...service,
      type: "ClusterSetIP",
      ports: [port],
      clusters: ["member1", "member2"],
      conflicts: [{ cluster: "member2", field: "ports", message: "port http differs" }],
    },
    [topologyKeys.peers("shop", "web", "member1")]: { ...inMember, ports: { http: peers, "": [] } },
  },
  fleet: {
    [fleetKeys.profile("default", "0a1b2c")]: { hash: "0a1b2c", settings: { timeout: 60, buffering: false } },
    [fleetKeys.route("default", "shop.example.test")]: {
      host: "shop.example.test",
      paths: [
        { type: "Prefix", path: "/", upstream: "shop-web-http", profile: "0a1b2c", source },
        {
          type: "Exact",
          path: "/gone",
          upstream: null,
          profile: "0a1b2c",
          problem: "no such import",
          source,
        },
      ],
    },
    [fleetKeys.upstream("default", "shop-web-http")]: {
      id: "shop-web-http",
      ...service,
      port: "http",
      balance: "round_robin",
    },
    [fleetKeys.peers("default", "shop-web-http", "member1")]: {
      upstream: "shop-web-http",
      cluster: "member1",
      peers,
    },
    [fleetKeys.cluster("default", "member1")]: {
      cluster: "member1",
      state: "stale",
      allowed: ["10.4.0.0/14"],
    },
  },
  proxies: {
    [plainKeys.proxy("default", "p1")]: {
      fleet: "default",
      proxy: "p1",
      at: 1_790_000_000_000,
      revision: 17,
      source: "bus",
      nginx: { up: true, version: "1.26.3", reloads: 0 },
      rows: { routes: 1, upstreams: 1, peers: 2, profiles: 1 },
      problems: [{ key: "default.routes.shop_example_test", problem: "waits for upstream shop-web-http" }],
      ejected: [{ cluster: "member1", peer: "10.4.0.7:8080", until: 1_790_000_010_000 }],
      httpAddress: "127.0.0.1:31590",
      httpsAddress: "127.0.0.1:31591",
    },
  },
  members: {
    [plainKeys.member("aggregator", "a")]: {
      role: "aggregator",
      process: "a",
      pid: 4711,
      startedAt: 1_790_000_000_000,
      at: 1_790_000_000_000,
    },
  },
  boot: { [plainKeys.boot()]: { v: 1, id: "5f0c", at: 1_790_000_000_000 } },
};

const trace = { id: "0af7651916cd43dd8448eb211c80319c", at: { watch: 1_790_000_000_000.5 } };

function schemaOf(table: TableSpec, key: string): Type.TSchema {
  const schema = table.schemaOf(key);
  assert.ok(schema !== null, `${table.name} has no schema for ${key}`);
  return schema;
}

test("every table has examples here", () => {
  assert.deepEqual(Object.keys(examples).toSorted(), allTables.map((table) => table.name).toSorted());
});

for (const table of allTables) {
  for (const [key, example] of Object.entries(examples[table.name] ?? {})) {
    describe(`${table.name}, ${key}`, () => {
      const schema = schemaOf(table, key);
      const read = (data: unknown) =>
        decodeEnvelope(schema, encodeEnvelope({ v: 1, epoch: { n: 3, id: "e" }, trace, data }), key);

      test("a whole record comes through as it was written", () => {
        assert.deepEqual(read(example), { v: 1, epoch: { n: 3, id: "e" }, trace, data: example });
      });

      test("a wrong field is refused by its name and that of the record", () => {
        for (const field of Object.keys(example)) {
          for (const wrong of [null, { no: "such" }, -1.5, "\u0000".repeat(300)]) {
            const data = { ...example, [field]: wrong };
            let refusal = "";
            try {
              read(data);
              continue; // a few fields take one of these: a free text any text
            } catch (error) {
              assert.ok(error instanceof BadRecordError);
              refusal = error.message;
            }
            assert.ok(refusal.startsWith(`${key}: field /${field}`), refusal);
          }
        }
      });

      test("every field refuses a value of another type", () => {
        for (const field of Object.keys(example)) {
          assert.throws(() => read({ ...example, [field]: [[]] }), BadRecordError, field);
        }
      });

      test("a record without one of its fields is refused by that field's name, if it must be there", () => {
        const required = (schema as Type.TObject).required ?? [];
        assert.ok(required.length > 0);
        for (const field of required) {
          const { [field]: _, ...rest } = example;
          assert.throws(() => read(rest), {
            name: "BadRecordError",
            message: new RegExp(`${key}: .*${field}`),
          });
        }
      });
    });
  }
}

test("claims, synced marks and layouts have schemas of their own", () => {
  const at = 1_790_000_000_000;
  decode(records.Claim, { v: 1, id: "e", boot: "b", layout: 0, holder: "aggregator.a", at }, "claim");
  decode(records.Synced, { v: 1, id: "e", at }, "synced");
  decode(records.Layout, { v: 1, shards: 4, at }, "layout");
  assert.throws(() => decode(records.Layout, { v: 1, shards: 0, at }, "k"), /k: field \/shards/);
  assert.throws(
    () => decode(records.Claim, { v: 2, id: "e", boot: "b", layout: 0, holder: "", at }, "k"),
    /\/v/,
  );
});

test("a row of a kind that this version does not know has no schema", () => {
  const fleet = allTables.find((table) => table.name === "fleet");
  assert.equal(fleet?.schemaOf("default.certs.shop"), null);
  assert.equal(fleet?.schemaOf("default"), null);
});
