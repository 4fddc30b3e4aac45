import assert from "node:assert/strict";
import { test } from "node:test";
import { decode, SliceRecord } from "@sluice/contracts";
import type { EndpointConditions, EndpointSlice, Service, ServiceExport } from "@sluice/kube";
import fc from "fast-check";
import {
  exportConditions,
  exportRecord,
  nodeCidrs,
  serviceOfSlice,
  sliceRecord,
} from "./exported-service.ts";

function slice(
  metadata: Partial<EndpointSlice["metadata"]> = {},
  rest: Partial<EndpointSlice> = {},
): EndpointSlice {
  return {
    apiVersion: "discovery.k8s.io/v1",
    kind: "EndpointSlice",
    metadata: {
      name: "cart-1",
      namespace: "shop",
      ...metadata,
      labels: { "kubernetes.io/service-name": "cart", ...metadata.labels },
    },
    addressType: "IPv4",
    ...rest,
  };
}

const exported: ServiceExport = {
  apiVersion: "multicluster.x-k8s.io/v1alpha1",
  kind: "ServiceExport",
  metadata: { name: "cart", namespace: "shop", creationTimestamp: "2026-01-02T03:04:05Z" },
};
const service: Service = {
  apiVersion: "v1",
  kind: "Service",
  metadata: { name: "cart", namespace: "shop" },
  spec: { ports: [{ port: 80 }] },
};

function conditionsOf(conditions: EndpointConditions | undefined) {
  const endpoint = conditions === undefined ? {} : { conditions };
  const record = sliceRecord(
    "member1",
    "cart",
    slice({}, { endpoints: [{ addresses: ["10.0.0.1"], ...endpoint }] }),
  );
  const { ready, serving, terminating } = record.endpoints[0]!;
  return { ready, serving, terminating };
}

const nilRules: Record<string, [EndpointConditions | undefined, ReturnType<typeof conditionsOf>]> = {
  "an endpoint without conditions is ready": [undefined, { ready: true, serving: true, terminating: false }],
  "nil ready counts as ready": [{ serving: true }, { ready: true, serving: true, terminating: false }],
  "nil serving counts as ready does": [
    { ready: false },
    { ready: false, serving: false, terminating: false },
  ],
  "an endpoint that terminates and still serves keeps all three": [
    { ready: false, serving: true, terminating: true },
    { ready: false, serving: true, terminating: true },
  ],
};
for (const [behaviour, [conditions, expected]] of Object.entries(nilRules)) {
  test(behaviour, () => assert.deepEqual(conditionsOf(conditions), expected));
}

const importers: Record<string, Partial<EndpointSlice["metadata"]>> = {
  Karmada: {
    labels: { "endpointslice.kubernetes.io/managed-by": "endpointslice-dispatch-controller.karmada.io" },
  },
  "Karmada, by its annotation": { annotations: { "endpointslice.karmada.io/provision-cluster": "member2" } },
  Sluice: { labels: { "endpointslice.kubernetes.io/managed-by": "aggregator.sluice.dev" } },
  Submariner: { labels: { "endpointslice.kubernetes.io/managed-by": "lighthouse-agent.submariner.io" } },
  Cilium: { labels: { "endpointslice.kubernetes.io/managed-by": "endpointslice-mesh-controller.cilium.io" } },
  "any implementation of the MCS API": { labels: { "multicluster.kubernetes.io/source-cluster": "member2" } },
};
for (const [importer, metadata] of Object.entries(importers)) {
  test(`a slice that ${importer} imported is no endpoint of this cluster`, () => {
    assert.equal(serviceOfSlice(slice(metadata)), null);
  });
}

test("a slice of the cluster's own controller, of a user, or of nobody belongs to the service in its label", () => {
  for (const manager of [
    "endpointslice-controller.k8s.io",
    "my-operator.example.test",
    "notsluice.dev",
    undefined,
  ]) {
    const labels = manager === undefined ? {} : { "endpointslice.kubernetes.io/managed-by": manager };
    assert.equal(serviceOfSlice(slice({ labels })), "cart", manager);
  }
  const { labels: _none, ...bare } = slice().metadata;
  assert.equal(serviceOfSlice({ ...slice(), metadata: bare }), null);
});

test("a nil port name is the empty name, a nil port is null, a nil protocol is TCP", () => {
  const record = sliceRecord(
    "member1",
    "cart",
    slice({}, { ports: [{}, { name: "dns", port: 53, protocol: "UDP" }] }),
  );
  assert.deepEqual(record.ports, [
    { name: "", port: null, protocol: "TCP" },
    { name: "dns", port: 53, protocol: "UDP" },
  ]);
});

test("a port that no TCP or UDP has is none, so that its record stays readable", () => {
  const ports = [{ port: 0 }, { port: 99_999 }, { port: -1 }, { port: 65_535 }];
  const record = sliceRecord("member1", "cart", slice({}, { ports }));
  assert.deepEqual(
    record.ports.map(({ port }) => port),
    [null, null, null, 65_535],
  );
  assert.doesNotThrow(() => decode(SliceRecord, record, "the record"));
});

test("a record names no pod, no node and no hint, and an endpoint without an address is left out", () => {
  const record = sliceRecord(
    "member1",
    "cart",
    slice(
      {},
      {
        endpoints: [
          {
            addresses: ["10.0.0.1"],
            nodeName: "node-a",
            hostname: "cart-0",
            zone: "a",
            targetRef: { kind: "Pod", name: "cart-0" },
          },
          { addresses: [] },
        ],
      },
    ),
  );
  assert.deepEqual(record.endpoints, [
    { addresses: ["10.0.0.1"], ready: true, serving: true, terminating: false, zone: "a" },
  ]);
});

test("an export of a Service that is not there says NoService", () => {
  const outcome = exportRecord("member1", exported, undefined);
  assert.equal(outcome.exported, false);
  assert.equal(outcome.exported === false && outcome.condition.reason, "NoService");
});

test("an ExternalName Service cannot be exported", () => {
  const outcome = exportRecord("member1", exported, { ...service, spec: { type: "ExternalName" } });
  assert.equal(outcome.exported === false && outcome.condition.reason, "InvalidServiceType");
});

test("an export says how old it is, and that a service without an address of its own is headless", () => {
  const outcome = exportRecord("member1", exported, {
    ...service,
    spec: { clusterIP: "None", ports: [{ port: 80 }] },
  });
  assert.ok(outcome.exported);
  assert.equal(outcome.record.createdAt, Date.parse("2026-01-02T03:04:05Z"));
  assert.equal(outcome.record.type, "Headless");
  assert.deepEqual(outcome.record.ports, [{ name: "", port: 80, protocol: "TCP" }]);
});

const fine = exportRecord("member1", exported, service);
const statuses = (conditions: ReturnType<typeof exportConditions>) =>
  Object.fromEntries(conditions.map(({ type, status, reason }) => [type, `${status} ${reason}`]));

const allIsWell = { Valid: "True Valid", Ready: "True Exported", Conflict: "False NoConflicts" };

test("an export that nobody objects to is valid, ready and without conflict", () => {
  assert.deepEqual(statuses(exportConditions(fine, [])), allIsWell);
});

test("what the aggregator says replaces that all is well, condition by condition", () => {
  const conflict = { type: "Conflict", status: "True", reason: "OldestExportWins", message: "m" } as const;
  assert.deepEqual(statuses(exportConditions(fine, [conflict])), {
    ...allIsWell,
    Conflict: "True OldestExportWins",
  });
});

test("an export that the aggregator calls invalid is not ready either", () => {
  const tooLong = { type: "Valid", status: "False", reason: "NameTooLong", message: "m" } as const;
  assert.deepEqual(statuses(exportConditions(fine, [tooLong])), {
    ...allIsWell,
    Valid: "False NameTooLong",
    Ready: "False NameTooLong",
  });
});

test("its own cluster's objection comes before the aggregator's", () => {
  const refused = { type: "Ready", status: "False", reason: "PeersRefused", message: "m" } as const;
  const none = exportRecord("member1", exported, undefined);
  assert.equal(statuses(exportConditions(none, [refused]))["Ready"], "False NoService");
});

test("whatever verdict comes, each condition is said once and an export that is not valid is never ready", () => {
  const condition = fc.record({
    type: fc.constantFrom("Valid", "Ready", "Conflict", "Other"),
    status: fc.constantFrom("True" as const, "False" as const, "Unknown" as const),
    reason: fc.constantFrom("A", "B"),
    message: fc.string(),
  });
  fc.assert(
    fc.property(fc.array(condition), fc.boolean(), (verdict, hasService) => {
      const own = exportRecord("member1", exported, hasService ? service : undefined);
      const said = exportConditions(own, verdict);
      assert.equal(new Set(said.map(({ type }) => type)).size, said.length);
      const status = (type: string) => said.find((c) => c.type === type)?.status;
      if (status("Valid") !== "True") assert.notEqual(status("Ready"), "True");
    }),
  );
});

test("a Node gives its pod CIDRs and its own addresses, of both families", () => {
  const addresses = [
    { type: "InternalIP", address: "192.0.2.7" },
    { type: "ExternalIP", address: "2001:db8::7" },
    { type: "Hostname", address: "node-a" },
  ];
  assert.deepEqual(nodeCidrs({ spec: { podCIDR: "10.1.0.0/24" }, status: { addresses } }), [
    "10.1.0.0/24",
    "192.0.2.7/32",
    "2001:db8::7/128",
  ]);
  assert.deepEqual(nodeCidrs({ spec: { podCIDR: "10.1.0.0/24", podCIDRs: ["10.1.0.0/24", "fd00::/64"] } }), [
    "10.1.0.0/24",
    "fd00::/64",
  ]);
  assert.deepEqual(nodeCidrs({}), []);
});
