import assert from "node:assert/strict";
import { after, before, beforeEach, describe, test } from "node:test";
import {
  connectCluster,
  type Deployment,
  type KubeClient,
  type KubeObject,
  type ObjectRef,
  type ResourceType,
  resources,
} from "@sluice/kube";
import { type SandboxCluster, startCluster } from "@sluice/kube-sandbox";
import { runPropagator } from "@sluice/propagator";
import { createKit } from "@sluice/service-kit";
import { applyFile, eventually, policy } from "./clusters.ts";

const signal = AbortSignal.timeout(280_000);
const clusters: SandboxCluster[] = [];
let hub: KubeClient;
let member1: KubeClient;
let member2: KubeClient;
let stop: () => Promise<void>;
let namespace: string;
let round = 0;

async function startPropagator(): Promise<() => Promise<void>> {
  const stopping = new AbortController();
  const kit = createKit({ service: "propagator", signal: stopping.signal });
  const done = runPropagator({ hub, members: [member1, member2] }, kit);
  return async () => {
    stopping.abort(new Error("stopping"));
    await done;
  };
}

before(async () => {
  const clients: KubeClient[] = [];
  for (const name of ["hub", "member1", "member2"]) {
    const cluster = await startCluster({ name });
    clusters.push(cluster);
    clients.push(await connectCluster({ name, kubeconfig: cluster.kubeconfig() }));
  }
  [hub, member1, member2] = clients as [KubeClient, KubeClient, KubeClient];
  for (const plural of ["propagationpolicies", "clusterpropagationpolicies"]) {
    await applyFile(hub, `deploy/crds/policy.karmada.io_${plural}.yaml`, signal);
  }
  stop = await startPropagator();
});
after(async () => {
  await stop();
  for (const client of [hub, member1, member2]) client.close();
  for (const cluster of clusters) await cluster.close();
});
beforeEach(async () => {
  round += 1;
  namespace = `shop-${round}`;
  await apply(hub, { apiVersion: "v1", kind: "Namespace", metadata: { name: namespace } });
});

async function apply(client: KubeClient, object: KubeObject): Promise<void> {
  await eventually(`apply ${object.kind} ${object.metadata.name}`, async () => {
    await client.apply(object, { fieldManager: "test", force: true }, signal);
    return true;
  });
}

async function found<T extends KubeObject>(
  client: KubeClient,
  type: ResourceType<T>,
  name: string,
): Promise<T | null> {
  const ref: ObjectRef = type.namespaced ? { namespace, name } : { name };
  return await client.get(type, ref, signal);
}

async function there<T extends KubeObject>(
  client: KubeClient,
  type: ResourceType<T>,
  name: string,
  holds: (object: T) => boolean = () => true,
): Promise<T> {
  return await eventually(`${type.kind} ${name} in ${client.name}`, async () => {
    const object = await found(client, type, name);
    return object !== null && holds(object) && object;
  });
}

async function gone(client: KubeClient, type: ResourceType, name: string): Promise<void> {
  await eventually(
    `no ${type.kind} ${name} in ${client.name}`,
    async () => (await found(client, type, name)) === null,
  );
}

async function remove(client: KubeClient, type: ResourceType, name: string): Promise<void> {
  const ref: ObjectRef = type.namespaced ? { namespace, name } : { name };
  await client.delete(type, ref, {}, signal);
}

async function scale(client: KubeClient, name: string, replicas: number): Promise<void> {
  const patch = { spec: { replicas } };
  const options = { subresource: "scale", fieldManager: "kubectl" } as const;
  await client.mergePatch(resources.deployment, { namespace, name }, patch, options, signal);
}

async function warning(object: { kind: string; name: string }, reason: string): Promise<string> {
  return await eventually(`an Event ${reason}`, async () => {
    const { items } = await hub.list(resources.event, {}, signal);
    return items.find(
      (event) =>
        event.reason === reason &&
        event.involvedObject.kind === object.kind &&
        event.involvedObject.name === object.name &&
        (event.involvedObject.namespace ?? namespace) === namespace,
    )?.message;
  });
}

function service(name = "shop"): KubeObject {
  const spec = { selector: { app: name }, ports: [{ port: 81, targetPort: 8080 }] };
  return { apiVersion: "v1", kind: "Service", metadata: { name, namespace }, spec } as KubeObject;
}

function deployment(replicas: number, image = "example.test/echo:1"): KubeObject {
  return {
    apiVersion: "apps/v1",
    kind: "Deployment",
    metadata: { name: "shop", namespace },
    spec: {
      replicas,
      selector: { matchLabels: { app: "shop" } },
      template: {
        metadata: { labels: { app: "shop" } },
        spec: { containers: [{ name: "main", image }] },
      },
    },
  } as Deployment;
}

function select(clusterNames: readonly string[] | null, kind = "Service", extra: object = {}): KubeObject {
  const apiVersion = kind === "Deployment" ? "apps/v1" : "v1";
  return policy(
    { name: "shop", namespace },
    { resourceSelectors: [{ apiVersion, kind, name: "shop" }], ...extra },
    clusterNames,
  );
}

describe("an object that a policy selects", () => {
  test("comes to the clusters that are named, with its namespace and without what the hub assigned", async () => {
    await apply(hub, service());
    await apply(hub, select(["member1"]));
    const copy = await there(member1, resources.service, "shop");
    const template = await found(hub, resources.service, "shop");
    assert.notEqual(copy.metadata.uid, template?.metadata.uid);
    assert.equal(copy.spec?.ports?.[0]?.port, 81);
    assert.equal(copy.metadata.labels?.["propagator.sluice.dev/managed"], "true");
    assert.equal(await found(member2, resources.service, "shop"), null);
    assert.notEqual(await found(member2, resources.namespace, namespace), null);
  });

  test("comes to all clusters without a placement", async () => {
    await apply(hub, select(null));
    await apply(hub, service());
    await Promise.all([member1, member2].map((client) => there(client, resources.service, "shop")));
  });

  test("moves with the policy, and goes with the template or the policy", async () => {
    await apply(hub, service());
    await apply(hub, select(["member1"]));
    await there(member1, resources.service, "shop");
    await apply(hub, select(["member2"]));
    await there(member2, resources.service, "shop");
    await gone(member1, resources.service, "shop");
    await remove(hub, resources.service, "shop");
    await gone(member2, resources.service, "shop");
    await apply(hub, service());
    await there(member2, resources.service, "shop");
    await remove(hub, resources.propagationPolicy, "shop");
    await gone(member2, resources.service, "shop");
  });

  test("stays where the policy asked for that when it goes", async () => {
    await apply(hub, service());
    await apply(hub, select(["member1"], "Service", { preserveResourcesOnDeletion: true }));
    await there(member1, resources.service, "shop");
    await remove(hub, resources.propagationPolicy, "shop");
    await there(
      member1,
      resources.service,
      "shop",
      (copy) => copy.metadata.labels?.["propagator.sluice.dev/managed"] === undefined,
    );
  });

  test("is made again when somebody deletes it in a member, and mended when somebody edits it", async () => {
    await apply(hub, service());
    await apply(hub, select(["member1"]));
    const first = await there(member1, resources.service, "shop");
    await remove(member1, resources.service, "shop");
    await there(member1, resources.service, "shop", (copy) => copy.metadata.uid !== first.metadata.uid);
    const edit = { spec: { ports: [{ port: 82, targetPort: 9999 }] } };
    await member1.mergePatch(
      resources.service,
      { namespace, name: "shop" },
      edit,
      { fieldManager: "kubectl-edit" },
      signal,
    );
    const mended = await there(
      member1,
      resources.service,
      "shop",
      (copy) => copy.spec?.ports?.some((p) => p.port === 81) === true,
    );
    assert.equal(mended.spec?.ports?.find((p) => p.port === 81)?.targetPort, 8080);
  });

  test("keeps the replicas that a member was scaled to until the template changes", async () => {
    await apply(hub, deployment(1));
    await apply(hub, select(["member1"], "Deployment"));
    await there(member1, resources.deployment, "shop");
    await scale(member1, "shop", 0);
    // A change of another field, which is mended, shows that the propagator has looked.
    const edit = { metadata: { annotations: { "propagator.sluice.dev/policy": "somebody else" } } };
    await member1.mergePatch(resources.deployment, { namespace, name: "shop" }, edit, {}, signal);
    const mended = await there(
      member1,
      resources.deployment,
      "shop",
      (copy) => copy.metadata.annotations?.["propagator.sluice.dev/policy"] === `${namespace}/shop`,
    );
    assert.equal(mended.spec.replicas, 0);
    await apply(hub, deployment(3));
    await there(member1, resources.deployment, "shop", (copy) => copy.spec.replicas === 3);
  });

  test("keeps a member's replicas for good with Karmada's label", async () => {
    const template = deployment(1);
    const labels = { "resourcetemplate.karmada.io/retain-replicas": "true" };
    await apply(hub, { ...template, metadata: { ...template.metadata, labels } });
    await apply(hub, select(["member1"], "Deployment"));
    await there(member1, resources.deployment, "shop");
    await scale(member1, "shop", 5);
    const newer = deployment(1, "example.test/echo:2");
    await apply(hub, { ...newer, metadata: { ...newer.metadata, labels } });
    const copy = await there(
      member1,
      resources.deployment,
      "shop",
      (found) => found.spec.template.spec.containers[0]?.image === "example.test/echo:2",
    );
    assert.equal(copy.spec.replicas, 5);
  });

  test("is left alone where a member has one of that name already, and its owner is told", async () => {
    await there(member1, resources.namespace, namespace);
    await apply(member1, service());
    await apply(hub, service());
    await apply(hub, select(["member1"]));
    const message = await warning({ kind: "Service", name: "shop" }, "AlreadyInMember");
    assert.match(message, /conflictResolution: Overwrite/);
    assert.equal((await found(member1, resources.service, "shop"))?.metadata.labels, undefined);
    await remove(hub, resources.propagationPolicy, "shop");
    assert.notEqual(await found(member1, resources.service, "shop"), null);
  });

  test("of a kind that comes with a CRD is propagated once the CRD is there, in hub and member", async () => {
    await apply(
      hub,
      policy(
        { name: "export", namespace },
        {
          resourceSelectors: [
            { apiVersion: "multicluster.x-k8s.io/v1alpha1", kind: "ServiceExport", name: "shop" },
          ],
        },
        ["member1"],
      ),
    );
    const crd = "serviceexports.multicluster.x-k8s.io";
    await applyFile(hub, `deploy/crds/multicluster.x-k8s.io_serviceexports.yaml`, signal);
    await apply(hub, {
      apiVersion: "multicluster.x-k8s.io/v1alpha1",
      kind: "ServiceExport",
      metadata: { name: "shop", namespace },
    });
    await apply(
      hub,
      policy(
        { name: "crds" },
        {
          resourceSelectors: [
            { apiVersion: "apiextensions.k8s.io/v1", kind: "CustomResourceDefinition", name: crd },
          ],
        },
        ["member1", "member2"],
      ),
    );
    await there(member1, resources.serviceExport, "shop");
    await there(member2, resources.customResourceDefinition, crd);
    await remove(hub, resources.clusterPropagationPolicy, "crds");
    await gone(member2, resources.customResourceDefinition, crd);
  });
});

describe("the propagator", () => {
  test("names the field that it does not support, and propagates all the same", async () => {
    await apply(hub, service());
    const object = select(["member1"]) as KubeObject & { spec: { placement: object } };
    object.spec.placement = {
      ...object.spec.placement,
      spreadConstraints: [{ spreadByField: "cluster", minGroups: 2 }],
    };
    await apply(hub, object);
    const message = await warning({ kind: "PropagationPolicy", name: "shop" }, "UnsupportedField");
    assert.match(message, /^spec\.placement\.spreadConstraints: is not supported; remove it/);
    await there(member1, resources.service, "shop");
  });

  test("deletes the namespaces that it made, and no other", async () => {
    const own = `own-${round}`;
    await there(member1, resources.namespace, namespace);
    await apply(member1, { apiVersion: "v1", kind: "Namespace", metadata: { name: own } });
    await apply(hub, { apiVersion: "v1", kind: "Namespace", metadata: { name: own } });
    await there(member2, resources.namespace, own);
    await hub.delete(resources.namespace, { name: own }, {}, signal);
    await gone(member2, resources.namespace, own);
    assert.notEqual(await found(member1, resources.namespace, own), null);
  });

  test("goes on in one member while another hangs, and catches up", async () => {
    const frozen = clusters[1];
    await there(member1, resources.namespace, namespace);
    await frozen?.setFault({ api: "hang" });
    try {
      await apply(hub, service());
      await apply(hub, select(null));
      await there(member2, resources.service, "shop");
    } finally {
      await frozen?.setFault({ api: "none" });
    }
    await there(member1, resources.service, "shop");
  });

  test("withdraws after a restart what lost its policy meanwhile, also of a kind that no policy names", async () => {
    const configMap = { group: "", version: "v1", kind: "ConfigMap", plural: "configmaps", namespaced: true };
    const object = { apiVersion: "v1", kind: "ConfigMap", metadata: { name: "shop", namespace } };
    await apply(hub, { ...object, data: { a: "b" } } as KubeObject);
    await apply(hub, select(["member1"], "ConfigMap"));
    await there(member1, configMap, "shop");
    await stop();
    await remove(hub, resources.propagationPolicy, "shop");
    stop = await startPropagator();
    await gone(member1, configMap, "shop");
  });

  test("leaves alone, after a restart too, what a controller derived from its objects with their labels", async () => {
    await apply(hub, service());
    await apply(hub, select(["member1"]));
    const copy = await there(member1, resources.service, "shop");
    const slice = {
      apiVersion: "discovery.k8s.io/v1",
      kind: "EndpointSlice",
      metadata: { name: "shop-x7k2p", namespace, labels: { ...copy.metadata.labels } },
      addressType: "IPv4",
      endpoints: [],
    } as KubeObject;
    await apply(member1, slice);
    await stop();
    stop = await startPropagator();
    // By then it has seen every kind of the member, and has gone on.
    await apply(hub, service("later"));
    await apply(hub, {
      ...select(["member1"]),
      spec: { resourceSelectors: [{ apiVersion: "v1", kind: "Service" }] },
    } as KubeObject);
    await there(member1, resources.service, "later");
    assert.notEqual(await found(member1, resources.endpointSlice, "shop-x7k2p"), null);
  });
});
