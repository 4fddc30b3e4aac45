import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { KubeObject } from "@sluice/kube";
import { isManaged, keepReplicas, memberObject, ownedFields, templateHash } from "./template.ts";

const policy = { key: "shop/web", preserve: false };

function service(spec: object, metadata: object = {}): KubeObject {
  return {
    apiVersion: "v1",
    kind: "Service",
    metadata: {
      name: "web",
      namespace: "shop",
      uid: "u",
      resourceVersion: "7",
      creationTimestamp: "2026-01-01T00:00:00Z",
      managedFields: [{ manager: "kubectl" }],
      annotations: { "kubectl.kubernetes.io/last-applied-configuration": "{}", team: "a" },
      ...metadata,
    },
    spec,
    status: { loadBalancer: {} },
  } as KubeObject;
}

function deployment(replicas: number, labels: Record<string, string> = {}): KubeObject {
  const metadata = { name: "web", namespace: "shop", labels };
  return { apiVersion: "apps/v1", kind: "Deployment", metadata, spec: { replicas } } as KubeObject;
}

describe("a template as members get it", () => {
  test("is without status and what the hub assigned", () => {
    const body = memberObject(
      service({ clusterIP: "10.0.0.1", clusterIPs: ["10.0.0.1"], selector: { a: "b" } }),
      policy,
    ) as KubeObject & { status?: unknown; spec: object };
    assert.deepEqual(body.spec, { selector: { a: "b" } });
    assert.equal(body.status, undefined);
    assert.deepEqual(Object.keys(body.metadata), ["name", "namespace", "labels", "annotations"]);
    assert.equal(body.metadata.annotations?.["team"], "a");
    assert.equal(
      Object.keys(body.metadata.annotations ?? {}).some((key) => key.startsWith("kubectl")),
      false,
    );
  });

  test("stays headless", () => {
    const body = memberObject(service({ clusterIP: "None", clusterIPs: ["None"] }), policy);
    assert.deepEqual((body as KubeObject & { spec: object }).spec, {
      clusterIP: "None",
      clusterIPs: ["None"],
    });
  });

  test("has a hash that follows its content, not the hub's bookkeeping", () => {
    const hash = (object: KubeObject) => templateHash(memberObject(object, policy));
    const one = service({ selector: { a: "b" } });
    assert.equal(hash(one), hash(service({ selector: { a: "b" } }, { resourceVersion: "8" })));
    assert.notEqual(hash(one), hash(service({ selector: { a: "c" } })));
  });
});

test("what a controller derives from an object of ours, with its labels and annotations, is not ours", () => {
  const body = memberObject(service({ selector: { a: "b" } }), policy);
  assert.equal(isManaged(body), true);
  assert.equal(isManaged({ ...body, kind: "EndpointSlice" }), false);
  assert.equal(isManaged({ ...body, metadata: { ...body.metadata, name: "web-x7k2p" } }), false);
});

describe("replicas", () => {
  const replicasOf = (object: KubeObject) =>
    (object as KubeObject & { spec: { replicas: number } }).spec.replicas;
  const scaled = (body: KubeObject, replicas: number) => ({ ...body, spec: { replicas } }) as KubeObject;

  test("of the member hold while the template is the same", () => {
    const body = memberObject(deployment(1), policy);
    assert.equal(replicasOf(keepReplicas(body, scaled(body, 0))), 0);
  });

  test("of the hub come with a new template and at the first apply", () => {
    const body = memberObject(deployment(1), policy);
    const newer = memberObject(deployment(3), policy);
    assert.equal(replicasOf(keepReplicas(newer, scaled(body, 0))), 3);
    assert.equal(replicasOf(keepReplicas(newer, null)), 3);
  });

  test("of the member hold for good with Karmada's label", () => {
    const labels = { "resourcetemplate.karmada.io/retain-replicas": "true" };
    const body = memberObject(deployment(1, labels), policy);
    const newer = memberObject(deployment(3, labels), policy);
    assert.equal(replicasOf(keepReplicas(newer, scaled(body, 5))), 5);
  });
});

test("owned fields change when another manager takes one, but not for the replica count", () => {
  const managed = (fieldsV1: object): KubeObject => ({
    ...deployment(1),
    metadata: {
      name: "web",
      managedFields: [{ manager: "sluice-propagator", operation: "Apply", fieldsV1 }],
    },
  });
  const all = ownedFields(managed({ "f:spec": { "f:replicas": {}, "f:paused": {} } }));
  assert.equal(ownedFields(managed({ "f:spec": { "f:paused": {} } })), all);
  assert.notEqual(ownedFields(managed({ "f:spec": { "f:replicas": {} } })), all);
});
