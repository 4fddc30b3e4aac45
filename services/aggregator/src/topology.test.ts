import assert from "node:assert/strict";
import { test } from "node:test";
import { type ExportRecord, peerFilter, type SliceRecord } from "@sluice/contracts";
import fc from "fast-check";
import { endpoint, everything, exported, slice } from "./testing.ts";
import { clusterPeers, derivedName, exportVerdict, mergeExports } from "./topology.ts";

const identity = { namespace: "shop", service: "cart", cluster: "member1" };
const portsOf = (slices: SliceRecord[]) => clusterPeers(identity, slices, everything).peers.ports;

test("peers are matched to ports by name, and a nil name is the empty one", () => {
  const both = slice({
    ports: [
      { name: "", port: 8080, protocol: "TCP" },
      { name: "admin", port: 9090, protocol: "TCP" },
    ],
  });
  assert.deepEqual(portsOf([both]), {
    "": [{ address: "10.0.0.1", port: 8080 }],
    admin: [{ address: "10.0.0.1", port: 9090 }],
  });
});

test("a ready endpoint is a peer, a serving one that terminates drains, any other is none", () => {
  const endpoints = [endpoint("10.0.0.1"), endpoint("10.0.0.2", "draining"), endpoint("10.0.0.3", "unready")];
  assert.deepEqual(portsOf([slice({ endpoints })]), {
    "": [
      { address: "10.0.0.1", port: 8080 },
      { address: "10.0.0.2", port: 8080, draining: true },
    ],
  });
});

test("an address that two slices have is one peer, and ready wins over draining in either order", () => {
  const ready = slice({ slice: "cart-1" });
  const draining = slice({ slice: "cart-2", endpoints: [endpoint("10.0.0.1", "draining")] });
  const expected = { "": [{ address: "10.0.0.1", port: 8080 }] };
  assert.deepEqual(portsOf([ready, draining]), expected);
  assert.deepEqual(portsOf([draining, ready]), expected);
});

test("a port name that maps to other numbers in other slices has the peers of each", () => {
  const other = slice({
    slice: "cart-2",
    ports: [{ name: "", port: 9999, protocol: "TCP" }],
    endpoints: [endpoint("10.0.0.2")],
  });
  assert.deepEqual(portsOf([slice(), other])[""], [
    { address: "10.0.0.1", port: 8080 },
    { address: "10.0.0.2", port: 9999 },
  ]);
});

test("names to resolve are no peers, and neither is a port that means all ports", () => {
  assert.deepEqual(portsOf([slice({ addressType: "FQDN", endpoints: [endpoint("pod.example.test")] })]), {
    "": [],
  });
  assert.deepEqual(portsOf([slice({ ports: [{ name: "any", port: null, protocol: "TCP" }] })]), { any: [] });
});

test("a port without ready endpoints is there and empty", () => {
  assert.deepEqual(portsOf([slice({ endpoints: [] })]), { "": [] });
});

test("a refused address is no peer of any port and is named once, the others stay", () => {
  const allowed = peerFilter({ fromNodes: [], fromFlags: ["10.0.0.0/24"], refused: ["10.0.0.9"] });
  const endpoints = ["10.0.0.1", "169.254.169.254", "10.0.0.9", "10.7.0.1"].map((address) =>
    endpoint(address),
  );
  const { peers, refused } = clusterPeers(identity, [slice({ endpoints })], allowed);
  assert.deepEqual(peers.ports, { "": [{ address: "10.0.0.1", port: 8080 }] });
  assert.deepEqual(
    refused.map(({ address }) => address),
    ["10.0.0.9", "10.7.0.1", "169.254.169.254"],
  );
});

const anySlice = fc
  .record({
    name: fc.constantFrom("a", "b", "c"),
    addressType: fc.constantFrom("IPv4" as const, "FQDN" as const),
    ports: fc.array(
      fc.record({
        name: fc.constantFrom("", "web"),
        port: fc.constantFrom(80, 81, null),
        protocol: fc.constant("TCP" as const),
      }),
      { maxLength: 2 },
    ),
    endpoints: fc.array(
      fc
        .tuple(fc.nat(4), fc.constantFrom("ready" as const, "draining" as const, "unready" as const))
        .map(([n, state]) => endpoint(`10.0.${n > 3 ? 9 : 0}.${n}`, state)),
      { maxLength: 4 },
    ),
  })
  .map(({ name, ...rest }) => slice({ slice: name, ...rest }));
const someRules = peerFilter({ fromNodes: ["10.0.0.0/24"], fromFlags: [], refused: [] });

test("the order in which slices came never matters, nor does one that came twice", () => {
  fc.assert(
    fc.property(fc.array(anySlice, { maxLength: 5 }), fc.nat(), (slices, turn) => {
      const once = clusterPeers(identity, slices, someRules);
      const at = turn % Math.max(1, slices.length);
      const turned = [...slices.slice(at), ...slices.slice(0, at)].reverse();
      assert.equal(JSON.stringify(clusterPeers(identity, turned, someRules)), JSON.stringify(once));
      assert.equal(
        JSON.stringify(clusterPeers(identity, [...slices, ...slices], someRules)),
        JSON.stringify(once),
      );
    }),
  );
});

test("a peer that is not draining stands in a slice as ready, and every allowed ready endpoint is a peer", () => {
  fc.assert(
    fc.property(fc.array(anySlice, { maxLength: 5 }), (slices) => {
      const { ports } = clusterPeers(identity, slices, someRules).peers;
      const expected = new Set<string>();
      for (const { addressType, ports: named, endpoints } of slices) {
        if (addressType === "FQDN") continue;
        for (const { addresses, ready } of endpoints) {
          if (!ready || !someRules(addresses[0]!).allowed) continue;
          for (const { name, port } of named)
            if (port !== null) expected.add(`${name} ${addresses[0]} ${port}`);
        }
      }
      const got = Object.entries(ports).flatMap(([name, peers]) =>
        peers.filter((p) => p.draining !== true).map((p) => `${name} ${p.address} ${p.port}`),
      );
      assert.deepEqual(new Set(got), expected);
      assert.equal(got.length, expected.size, "none twice");
    }),
  );
});

test("nobody exports it: there is no such service", () => assert.equal(mergeExports([]), null));

test("the oldest export wins a conflict, and the others are named with what they say", () => {
  const merged = mergeExports([
    exported({
      cluster: "member1",
      createdAt: 2000,
      type: "Headless",
      ports: [{ name: "", port: 81, protocol: "TCP" }],
    }),
    exported({ cluster: "member2", createdAt: 1000 }),
  ]);
  assert.equal(merged?.type, "ClusterSetIP");
  assert.deepEqual(merged?.ports, [{ name: "", port: 80, protocol: "TCP" }]);
  assert.deepEqual(merged?.clusters, ["member2", "member1"]);
  assert.deepEqual(
    merged?.conflicts.map(({ cluster, field }) => `${cluster} ${field}`),
    ["member1 type", "member1 ports[]"],
  );
});

test("of two exports of the same second the cluster that comes first in the alphabet wins", () => {
  const merged = mergeExports([
    exported({ cluster: "member2", type: "Headless" }),
    exported({ cluster: "member1" }),
  ]);
  assert.equal(merged?.type, "ClusterSetIP");
  assert.deepEqual(
    merged?.conflicts.map(({ cluster }) => cluster),
    ["member2"],
  );
});

test("ports that only a younger export has are added, without a conflict", () => {
  const merged = mergeExports([
    exported(),
    exported({
      cluster: "member2",
      createdAt: 2000,
      ports: [...exported().ports, { name: "admin", port: 9090, protocol: "TCP" }],
    }),
  ]);
  assert.deepEqual(
    merged?.ports.map(({ name }) => name),
    ["", "admin"],
  );
  assert.deepEqual(merged?.conflicts, []);
});

const families: Record<string, [string[], string[], boolean]> = {
  "families in another order are no conflict": [["IPv4", "IPv6"], ["IPv6", "IPv4"], false],
  "an API that names no family contradicts nobody": [["IPv4"], [], false],
  "one family against two is a conflict": [["IPv4"], ["IPv4", "IPv6"], true],
};
for (const [behaviour, [a, b, conflict]] of Object.entries(families)) {
  test(behaviour, () => {
    const merged = mergeExports([
      exported({ ipFamilies: a }),
      exported({ cluster: "member2", createdAt: 2000, ipFamilies: b }),
    ]);
    assert.equal(merged?.conflicts.length, conflict ? 1 : 0);
  });
}

const anyExport = fc
  .record({
    createdAt: fc.nat(2),
    type: fc.constantFrom("ClusterSetIP" as const, "Headless" as const),
    ipFamilies: fc.subarray(["IPv4", "IPv6"]),
    ports: fc.array(
      fc.record({
        name: fc.constantFrom("", "web"),
        port: fc.constantFrom(80, 81),
        protocol: fc.constant("TCP" as const),
      }),
      { maxLength: 2 },
    ),
  })
  .map((rest): ExportRecord => exported(rest));

test("the order of exports never matters, and merging the same ones again changes nothing", () => {
  fc.assert(
    fc.property(fc.array(anyExport, { minLength: 1, maxLength: 4 }), fc.nat(), (list, turn) => {
      const exports = list.map((record, i) => ({ ...record, cluster: `member${i + 1}` }));
      const at = turn % exports.length;
      const turned = [...exports.slice(at), ...exports.slice(0, at)].reverse();
      const merged = mergeExports(exports);
      assert.deepEqual(mergeExports(turned), merged);
      assert.equal(merged?.clusters.length, exports.length);
      // The oldest is never told that it conflicts with itself, and whoever is told anything is told why.
      const winner = merged?.clusters[0];
      for (const { cluster, message } of merged?.conflicts ?? []) {
        if (cluster === winner) assert.match(message, new RegExp(`${winner}'s older`));
        assert.notEqual(message, "");
      }
    }),
  );
});

test("a service name of 55 characters has a derived name, one of 56 is refused with a condition", () => {
  assert.equal(derivedName("a".repeat(55))?.length, 63);
  assert.equal(derivedName("a".repeat(56)), null);
  const [said] = exportVerdict("member1", "a".repeat(56), mergeExports([exported()]), []);
  assert.equal(said?.reason, "NameTooLong");
  assert.deepEqual(exportVerdict("member1", "a".repeat(55), mergeExports([exported()]), []), []);
});

test("a verdict names three refused addresses and counts the rest", () => {
  const refused = [1, 2, 3, 4, 5].map((n) => ({ address: `10.7.0.${n}`, why: `10.7.0.${n} is outside` }));
  const [said] = exportVerdict("member1", "cart", mergeExports([exported()]), refused);
  assert.equal(said?.message, "10.7.0.1 is outside; 10.7.0.2 is outside; 10.7.0.3 is outside; and 2 more");
});
