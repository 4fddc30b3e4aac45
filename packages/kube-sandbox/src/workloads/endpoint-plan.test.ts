import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { EndpointSlice, Pod, Service } from "@sluice/kube";
import fc from "fast-check";
import { planSlices } from "./endpoint-plan.ts";

const service: Service = {
  apiVersion: "v1",
  kind: "Service",
  metadata: { name: "web", namespace: "shop", uid: "s", labels: { team: "a" } },
  spec: { selector: { app: "web" }, ports: [{ name: "http", port: 80, targetPort: "web" }] },
};

interface PodShape {
  readonly port?: number;
  readonly ready?: boolean;
  readonly leaving?: boolean;
}

function makePod(number: number, { port = 8080, ready = true, leaving = false }: PodShape = {}): Pod {
  return {
    apiVersion: "v1",
    kind: "Pod",
    metadata: {
      name: `web-${number}`,
      namespace: "shop",
      uid: `pod-${number}`,
      ...(leaving ? { deletionTimestamp: "2026-01-01T00:00:00Z" } : {}),
    },
    spec: { nodeName: "node", containers: [{ name: "main", ports: [{ name: "web", containerPort: port }] }] },
    status: {
      phase: "Running",
      podIP: `127.11.${number >> 8}.${number & 255}`,
      conditions: [{ type: "Ready", status: ready ? "True" : "False" }],
    },
  };
}

const pods = (from: number, to: number) => Array.from({ length: to - from }, (_, i) => makePod(from + i));

/** What is there after the plan was carried out. */
function carryOut(existing: readonly EndpointSlice[], wanted: readonly Pod[], of = service): EndpointSlice[] {
  const { create, update, remove } = planSlices(of, wanted, existing);
  const changed = new Map([...create, ...update].map((slice) => [slice.metadata.name, slice]));
  const removed = new Set(remove.map((slice) => slice.metadata.name));
  return [
    ...existing
      .filter((slice) => !removed.has(slice.metadata.name))
      .map((slice) => changed.get(slice.metadata.name) ?? slice),
    ...create,
  ];
}

describe("the slices of a Service", () => {
  test("take in at most 100 endpoints each, and one more pod changes one slice", () => {
    const slices = carryOut([], pods(0, 250));
    assert.deepEqual(
      slices.map((slice) => slice.endpoints?.length),
      [100, 100, 50],
    );
    const plan = planSlices(service, pods(0, 251), slices);
    assert.deepEqual([plan.create.length, plan.update.length, plan.remove.length], [0, 1, 0]);
  });

  test("are apart where a named target port is another number", () => {
    const slices = carryOut([], [makePod(1), makePod(2, { port: 9090 })]);
    assert.deepEqual(
      slices.map((slice) => slice.ports?.[0]?.port),
      [8080, 9090],
    );
  });

  test("are one empty slice without pods, made of the last one rather than beside it", () => {
    const full = carryOut([], pods(0, 1));
    const plan = planSlices(service, [], full);
    assert.deepEqual([plan.create.length, plan.update.length, plan.remove.length], [0, 1, 0]);
    const empty = carryOut(full, []);
    assert.deepEqual(empty[0]?.endpoints, []);
    assert.deepEqual(planSlices(service, [], empty), { create: [], update: [], remove: [] });
  });

  test("follow the Service's labels", () => {
    const slices = carryOut([], pods(0, 1));
    const labelled = { ...service, metadata: { ...service.metadata, labels: { team: "b" } } };
    assert.equal(carryOut(slices, pods(0, 1), labelled)[0]?.metadata.labels?.["team"], "b");
  });

  const conditions: Record<string, [PodShape, object]> = {
    "a ready pod is ready and serving": [{}, { ready: true, serving: true, terminating: false }],
    "a pod that is not ready is neither": [
      { ready: false },
      { ready: false, serving: false, terminating: false },
    ],
    "a leaving pod is not ready, but serving and terminating": [
      { leaving: true },
      { ready: false, serving: true, terminating: true },
    ],
  };
  for (const [sentence, [shape, expected]] of Object.entries(conditions)) {
    test(sentence, () => {
      assert.deepEqual(carryOut([], [makePod(1, shape)])[0]?.endpoints?.[0]?.conditions, expected);
    });
  }

  test("name each pod once and nobody else, after whatever came before; and then nothing is left to write", () => {
    const shape = fc.record({
      port: fc.constantFrom(8080, 9090),
      ready: fc.boolean(),
      leaving: fc.boolean(),
    });
    const world = fc.dictionary(fc.integer({ min: 0, max: 150 }).map(String), shape, { maxKeys: 150 });
    fc.assert(
      fc.property(fc.array(world, { minLength: 1, maxLength: 4 }), (worlds) => {
        let slices: EndpointSlice[] = [];
        for (const state of worlds) {
          const wanted = Object.entries(state).map(([number, s]) => makePod(Number(number), s));
          slices = carryOut(slices, wanted);
          const named = slices.flatMap((slice) => (slice.endpoints ?? []).map((e) => e.targetRef?.uid ?? ""));
          assert.deepEqual(named.toSorted(), wanted.map((pod) => pod.metadata.uid ?? "").toSorted());
          assert.ok(slices.every((slice) => (slice.endpoints?.length ?? 0) <= 100));
          const again = planSlices(service, wanted, slices);
          assert.deepEqual([again.create, again.update, again.remove], [[], [], []]);
        }
      }),
      { numRuns: 50 },
    );
  });
});
