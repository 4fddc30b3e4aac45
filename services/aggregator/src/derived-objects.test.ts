import assert from "node:assert/strict";
import { test } from "node:test";
import { peerFilter, type SliceValue } from "@sluice/contracts";
import type { ServiceImport } from "@sluice/kube";
import fc from "fast-check";
import { contains, derivedService, importedName, importedSlices } from "./derived-objects.ts";
import { keyOf, ServiceIndex } from "./service-index.ts";
import { endpoint, everything, exported, slice } from "./testing.ts";

const anybody = { knows: () => true, filter: () => everything };

function indexOf(...values: SliceValue[]) {
  const index = new ServiceIndex();
  for (const value of values) index.apply(keyOf(value), value);
  return index.get("shop", "cart");
}

function importOf(name: string, spec: ServiceImport["spec"] = { ports: [{ port: 80 }] }): ServiceImport {
  return {
    apiVersion: "multicluster.x-k8s.io/v1alpha1",
    kind: "ServiceImport",
    metadata: { name, namespace: "shop" },
    spec,
  };
}

test("an import's derived Service has the import's ports and is headless when the import is", () => {
  const derived = derivedService(importOf("cart", { ports: [{ name: "web", port: 80 }] }));
  assert.equal(derived?.metadata.name, "derived-cart");
  assert.deepEqual(derived?.spec, { ports: [{ name: "web", port: 80, protocol: "TCP" }] });
  assert.equal(derivedService(importOf("cart", { type: "Headless" }))?.spec?.clusterIP, "None");
});

test("an import whose derived name would be too long has no derived Service", () => {
  assert.equal(derivedService(importOf("a".repeat(56))), null);
});

test("imported slices bear cluster and service in their labels, and only allowed endpoints", () => {
  const record = slice({ endpoints: [endpoint("10.0.0.1"), endpoint("169.254.169.254")] });
  const rules = peerFilter({ fromNodes: ["10.0.0.0/24"], fromFlags: [], refused: [] });
  const [imported] = importedSlices(indexOf(exported(), record), "derived-cart", {
    ...anybody,
    filter: () => rules,
  });
  assert.equal(imported?.metadata.name, "imported-member1-cart-1");
  assert.deepEqual(imported?.metadata.labels, {
    "kubernetes.io/service-name": "derived-cart",
    "endpointslice.kubernetes.io/managed-by": "aggregator.sluice.dev",
    "multicluster.kubernetes.io/service-name": "cart",
    "multicluster.kubernetes.io/source-cluster": "member1",
  });
  assert.deepEqual(
    imported?.endpoints?.map(({ addresses }) => addresses),
    [["10.0.0.1"]],
  );
});

test("slices without an export, of names to resolve, or of a cluster without known rules are not imported", () => {
  assert.deepEqual(importedSlices(indexOf(slice()), "derived-cart", anybody), []);
  const names = slice({ addressType: "FQDN", endpoints: [endpoint("pod.example.test")] });
  assert.deepEqual(importedSlices(indexOf(exported(), names), "derived-cart", anybody), []);
  const unknown = { ...anybody, knows: () => false };
  assert.deepEqual(importedSlices(indexOf(exported(), slice()), "derived-cart", unknown), []);
});

test("names of imported slices are never longer than the API takes, and two long ones never fall together", () => {
  const name = fc
    .string({ unit: fc.constantFrom("a", "b", "-"), minLength: 1, maxLength: 253 })
    .map((s) => `a${s}a`);
  fc.assert(
    fc.property(name, name, (a, b) => {
      const long = (text: string) => importedName("member1", `${"x".repeat(240)}${text}`);
      assert.ok(long(a).length <= 253);
      assert.match(long(a), /^[a-z0-9]([-a-z0-9]*[a-z0-9])?$/);
      assert.equal(long(a) === long(b), a === b);
    }),
  );
  assert.equal(importedName("member1", "cart-1"), "imported-member1-cart-1");
});

test("what an API adds is no difference, what it lacks or has otherwise is one", () => {
  const wanted = { labels: { a: "1" }, ports: [{ port: 80 }], none: undefined };
  assert.equal(
    contains({ labels: { a: "1", b: "2" }, ports: [{ port: 80, nodePort: 1 }], uid: "x" }, wanted),
    true,
  );
  assert.equal(contains({ labels: { b: "2" }, ports: [{ port: 80 }] }, wanted), false);
  assert.equal(contains({ labels: { a: "1" }, ports: [{ port: 80 }, { port: 81 }] }, wanted), false);
  assert.equal(contains({ labels: { a: "1" } }, wanted), false);
});

test("everything contains itself, with whatever an API puts beside it", () => {
  fc.assert(
    fc.property(fc.dictionary(fc.string(), fc.jsonValue()), fc.jsonValue(), (object, more) => {
      assert.equal(contains(object, object), true);
      assert.equal(contains({ ...object, "added by the API": more }, object), true);
    }),
  );
});
