import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import {
  decodeHost,
  decodeToken,
  encodeHost,
  encodeToken,
  fleetKeys,
  hash32,
  type KeyClass,
  type KeySpace,
  plainKeys,
  sliceKeys,
  TOPOLOGY_PARTITIONS,
  topologyKeys,
} from "./keys.ts";

const label = fc.stringMatching(/^[a-z0-9]([-a-z0-9]{0,20}[a-z0-9])?$/);
/** RFC 1123 subdomains as Kubernetes takes them: labels with dots, 253 bytes at most. */
const anyName = fc
  .array(label, { minLength: 1, maxLength: 30 })
  .map((labels) => labels.join("."))
  .filter((name) => name.length <= 253);
const shortName = anyName.filter((name) => name.length <= 200);
const longName = fc
  .array(fc.stringMatching(/^[a-z0-9]{30}$/), { minLength: 7, maxLength: 8 })
  .map((l) => l.join("."));
const n = fc.integer({ min: 1, max: 999_999_999 });
const shard = fc.integer({ min: 0, max: 1023 }).map(String);

test("a name is one token that comes back, and no two names share one", () => {
  fc.assert(
    fc.property(fc.oneof(anyName, longName), fc.oneof(anyName, longName), (a, b) => {
      const token = encodeToken(a);
      assert.match(token, /^[-=_a-z0-9]{1,200}$/);
      assert.equal(decodeToken(token), a.length <= 200 ? a : null);
      assert.equal(token === encodeToken(b), a === b);
    }),
  );
});

test("names over 200 bytes that differ in their last letter have tokens of their own", () => {
  const long = "a".repeat(230);
  assert.notEqual(encodeToken(`${long}x`), encodeToken(`${long}y`));
  assert.equal(decodeToken(encodeToken(`${long}x`)), null);
});

test("a host is one token that comes back in lower case, wildcard and default among them", () => {
  const host = fc.oneof(
    fc.constant(""),
    shortName,
    shortName.map((name) => `*.${name}`),
    shortName.map((name) => name.toUpperCase()),
  );
  fc.assert(
    fc.property(host, host, (a, b) => {
      const token = encodeHost(a);
      assert.match(token, /^[-=_a-z0-9]+$/);
      assert.equal(decodeHost(token), a.toLowerCase());
      assert.equal(token === encodeHost(b), a.toLowerCase() === b.toLowerCase());
    }),
  );
});

test("a long host and its wildcard are two tokens, and neither comes back", () => {
  fc.assert(
    fc.property(longName, (host) => {
      assert.notEqual(encodeHost(host), encodeHost(`*.${host}`));
      assert.equal(decodeHost(encodeHost(host)), null);
      assert.equal(decodeHost(encodeHost(`*.${host}`)), null);
    }),
  );
});

test("the tokens of known hosts are part of the key format", () => {
  const known = {
    "": "=default",
    "shop.example.test": "shop_example_test",
    "*.example.test": "=w_example_test",
    "SHOP.Example.TEST": "shop_example_test",
  };
  for (const [host, token] of Object.entries(known)) assert.equal(encodeHost(host), token);
});

test("services are spread by FNV-1a, with its published values", () => {
  assert.equal(hash32(""), 0x811c9dc5);
  assert.equal(hash32("a"), 0xe40c292c);
  assert.equal(hash32("foobar"), 0xbf9cf968);
});

/** For names that come back, what is read from a key is what made it; for longer ones the same key can be made again. */
function assertClassified(space: KeySpace, key: string, scope: string, expected: KeyClass): void {
  const found = space.classify(key);
  if (scope.length <= 200) assert.deepEqual(found, expected);
  else assert.equal(found.kind, expected.kind);
  if (found.kind === "claim") assert.equal(space.claimKey(found.part, found.n), key);
  if (found.kind === "synced") assert.equal(space.syncedKey(found.part), key);
  if (found.kind === "layout") assert.equal(space.layoutKey(found.scope, found.n), key);
}

const spaces: Readonly<Record<string, { space: KeySpace; scope: fc.Arbitrary<string>; shards: boolean }>> = {
  slices: { space: sliceKeys, scope: fc.oneof(anyName, longName), shards: true },
  topology: { space: topologyKeys, scope: fc.constant(""), shards: true },
  fleet: { space: fleetKeys, scope: fc.oneof(anyName, longName), shards: false },
};
for (const [table, { space, scope, shards }] of Object.entries(spaces)) {
  describe(`keys of ${table}`, () => {
    test("a claim, a synced mark and a layout are told from their keys", () => {
      fc.assert(
        fc.property(scope, shards ? shard : fc.constant(""), n, (scope, shard, n) => {
          const part = { scope, shard };
          assertClassified(space, space.claimKey(part, n), scope, { kind: "claim", part, n });
          assertClassified(space, space.syncedKey(part), scope, { kind: "synced", part });
          const layout = space.layoutKey(scope, n);
          if (layout !== null) assertClassified(space, layout, scope, { kind: "layout", scope, n });
        }),
      );
    });

    test("a control key with one token too many or too few is not ours", () => {
      const part = { scope: shards && table === "topology" ? "" : "member1", shard: shards ? "0" : "" };
      const keys = [space.claimKey(part, 1), space.syncedKey(part), space.layoutKey(part.scope, 1)];
      for (const key of keys.filter((key) => key !== null)) {
        for (const other of [`${key}.1`, `${key}.1.2`, key.slice(0, key.lastIndexOf("."))]) {
          assert.equal(space.classify(other).kind, "foreign", other);
        }
      }
      for (const number of ["0", "01", "-1", "x", ""]) {
        const key = space.claimKey(part, 1).replace(/1$/, number);
        assert.equal(space.classify(key).kind, "foreign", key);
      }
    });

    test("a shard is one of those that the scope has", () => {
      fc.assert(
        fc.property(anyName, fc.integer({ min: 1, max: 64 }), (spread, shards) => {
          const found = space.shardOf(spread, shards);
          if (table === "fleet") assert.equal(found, "");
          else assert.ok(/^[0-9]+$/.test(found) && Number(found) < shards);
        }),
      );
    });
  });
}

test("a service's slices and its export fall to one shard of its cluster", () => {
  fc.assert(
    fc.property(anyName, shortName, shortName, anyName, (cluster, namespace, service, slice) => {
      const spread = `${encodeToken(namespace)}.${encodeToken(service)}`;
      const scope = decodeToken(encodeToken(cluster)) ?? encodeToken(cluster);
      const keys = [
        sliceKeys.slice(cluster, namespace, service, slice),
        sliceKeys.export(cluster, namespace, service),
      ];
      for (const key of keys) assert.deepEqual(sliceKeys.classify(key), { kind: "record", scope, spread });
      assert.notEqual(keys[0], keys[1]);
      assert.ok(keys.every((key) => key.startsWith(sliceKeys.filterOf(cluster).slice(0, -1))));
    }),
  );
});

test("a service and its peers fall to one of the sixteen partitions", () => {
  assert.equal(TOPOLOGY_PARTITIONS, 16);
  fc.assert(
    fc.property(shortName, shortName, shortName, (namespace, service, cluster) => {
      const spread = `${encodeToken(namespace)}.${encodeToken(service)}`;
      const keys = [
        topologyKeys.service(namespace, service),
        topologyKeys.peers(namespace, service, cluster),
      ];
      for (const key of keys) {
        assert.deepEqual(topologyKeys.classify(key), { kind: "record", scope: "", spread });
      }
      assert.notEqual(keys[0], keys[1]);
    }),
  );
});

test("every row of a fleet belongs to that fleet", () => {
  fc.assert(
    fc.property(shortName, fc.oneof(anyName, fc.constant("")), anyName, (fleet, host, cluster) => {
      const keys = [
        fleetKeys.profile(fleet, "0a1b"),
        fleetKeys.route(fleet, host),
        fleetKeys.upstream(fleet, "shop-web-http"),
        fleetKeys.peers(fleet, "shop-web-http", cluster),
        fleetKeys.cluster(fleet, cluster),
      ];
      for (const key of keys) {
        assert.deepEqual(fleetKeys.classify(key), { kind: "record", scope: fleet, spread: "" });
      }
      assert.equal(new Set(keys).size, keys.length);
    }),
  );
});

test("keys of the other tables hold as many tokens as they say", () => {
  assert.equal(plainKeys.cluster("member1.example"), "member1_example");
  assert.equal(plainKeys.verdict("member1", "shop", "web.v2"), "member1.shop.web_v2");
  assert.equal(plainKeys.proxy("default", "p1"), "default.p1");
  assert.equal(plainKeys.member("aggregator", "a1"), "aggregator.a1");
  assert.equal(plainKeys.boot(), "id");
});
