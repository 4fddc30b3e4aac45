import assert from "node:assert/strict";
import { test } from "node:test";
import { decode, fleetKeys, PeersRow } from "@sluice/contracts";
import fc from "fast-check";
import { placeOf, readClusterOrder } from "./cluster-order.ts";
import { FleetModel } from "./fleet-model.ts";

const read = (annotations: Readonly<Record<string, string>>) => {
  const said: string[] = [];
  const given = Object.entries(annotations).map(([name, text]) => [`sluice.dev/${name}`, text] as const);
  const order = readClusterOrder(new Map(given), (message) => said.push(message));
  return { order, said };
};

test("weights are shares of the clusters that they name, and those that they do not name get none", () => {
  const { order, said } = read({ "cluster-weights": "member1=90, member2 = 10,member3=0" });
  assert.deepEqual(said, []);
  const shares = ["member1", "member2", "member3", "member4"].map((cluster) => placeOf(cluster, order));
  assert.deepEqual(shares, [{ share: 90 }, { share: 10 }, { share: 0 }, { share: 0 }]);
});

test("failover ranks clusters by group, and those that no group names are last", () => {
  const { order, said } = read({ failover: "member1, member2 > member3" });
  assert.deepEqual(said, []);
  const ranks = ["member1", "member2", "member3", "member4"].map((cluster) => placeOf(cluster, order));
  assert.deepEqual(ranks, [{}, {}, { rank: 1 }, { rank: 2 }]);
});

test("an import that prefers near clusters has them asked first by a fleet that knows which these are", () => {
  const near = new Map([
    ["member2", 0],
    ["member3", 1],
  ]);
  const ranks = (
    annotations: Readonly<Record<string, string>>,
    locality: ReadonlyMap<string, number> | null,
  ) => {
    const { order, said } = read(annotations);
    assert.deepEqual(said, []);
    return ["member1", "member2", "member3"].map((cluster) => placeOf(cluster, order, locality).rank ?? 0);
  };
  assert.deepEqual(ranks({ locality: "prefer" }, near), [2, 0, 1]);
  assert.deepEqual(ranks({ locality: "prefer" }, null), [0, 0, 0]);
  assert.deepEqual(ranks({ locality: "off" }, near), [0, 0, 0]);
  assert.deepEqual(ranks({}, near), [0, 0, 0]);
  assert.deepEqual(
    ranks({ locality: "prefer", failover: "member1" }, near),
    [0, 1, 1],
    "its own order goes first",
  );
  const model = new FleetModel({
    fleet: "default",
    ingressClasses: ["nginx"],
    watchWithoutClass: false,
    locality: near,
  });
  model.setImport({
    metadata: { namespace: "shop", name: "web", annotations: { "sluice.dev/locality": "prefer" } },
    spec: { ports: [{ port: 80 }] },
  });
  const backend = { service: { name: "web", port: { number: 80 } } };
  model.setIngress({
    metadata: { namespace: "shop", name: "web" },
    spec: {
      ingressClassName: "nginx",
      rules: [{ host: "shop.example.test", http: { paths: [{ path: "/", pathType: "Prefix", backend }] } }],
    },
  });
  model.settle();
  const record = { namespace: "shop", service: "web", ports: { "": [{ address: "10.0.0.1", port: 80 }] } };
  const rows = ["member1", "member2"].flatMap((cluster) => [...model.peerRows({ ...record, cluster })]);
  assert.deepEqual(
    rows.map(([, row]) => row?.rank),
    [2, undefined],
  );
});

test("what is of another shape is told, and as if it were not there", () => {
  for (const [name, text] of [
    ["cluster-weights", "member1"],
    ["cluster-weights", "member1=1001"],
    ["cluster-weights", "member1=1,member1=2"],
    ["cluster-weights", "member1=-1"],
    ["cluster-weights", "Member1=1"],
    ["locality", "near"],
    ["failover", "member1>"],
    ["failover", "member1,member1"],
    ["failover", Array.from({ length: 16 }, (_, i) => `m${i}`).join(">")],
  ] as const) {
    const { order, said } = read({ [name]: text });
    assert.deepEqual(placeOf("member1", order), {}, text);
    assert.equal(said.length, 1, text);
    assert.match(
      said[0] ?? "",
      new RegExp(`^metadata.annotations\\[sluice.dev/${name}\\]: .* is as if it were not there$`),
    );
  }
});

test("whatever is written, a row of it is one that the fleet's readers take", () => {
  const cluster = fc.constantFrom("member1", "m", "a.b", "M", "", " x ");
  const text = fc.oneof(
    fc.string({ unit: "binary" }),
    fc
      .array(fc.tuple(cluster, fc.integer({ min: -2, max: 1200 })), { maxLength: 20 })
      .map((all) => all.map(([c, n]) => `${c}=${n}`).join(",")),
    fc
      .array(fc.array(cluster, { maxLength: 4 }), { maxLength: 18 })
      .map((all) => all.map((group) => group.join(",")).join(">")),
  );
  fc.assert(
    fc.property(text, text, cluster, (weights, failover, name) => {
      const { order } = read({ "cluster-weights": weights, failover });
      decode(PeersRow, { upstream: "web", cluster: "member1", ...placeOf(name, order), peers: [] }, "row");
    }),
    { numRuns: 2000 },
  );
});

test("a change of the import's order changes the peers' rows, and nothing else", () => {
  const model = new FleetModel({ fleet: "default", ingressClasses: ["nginx"], watchWithoutClass: false });
  const imported = (annotations: Readonly<Record<string, string>>) => ({
    metadata: { namespace: "shop", name: "web", annotations },
    spec: { ports: [{ port: 80 }] },
  });
  const backend = { service: { name: "web", port: { number: 80 } } };
  model.setIngress({
    metadata: { namespace: "shop", name: "web" },
    spec: { ingressClassName: "nginx", defaultBackend: backend },
  });
  model.setImport(imported({}));
  model.settle();
  const record = {
    namespace: "shop",
    service: "web",
    cluster: "member2",
    ports: { "": [{ address: "10.2.0.1", port: 80 }] },
  };
  const [[key, before]] = [...model.peerRows(record)] as [[string, PeersRow]];
  assert.match(key, new RegExp(`^${fleetKeys.peers("default", before.upstream, "member2")}$`));
  model.setImport(imported({ "sluice.dev/failover": "member1", "sluice.dev/cluster-weights": "member2=5" }));
  const { rows, services } = model.settle();
  assert.deepEqual([...services], ["shop/web"]);
  assert.deepEqual(
    [...rows.values()].filter((row) => row === null),
    [],
  );
  const [[, after]] = [...model.peerRows(record)] as [[string, PeersRow]];
  assert.deepEqual(after, { ...before, share: 5, rank: 1 });
});
