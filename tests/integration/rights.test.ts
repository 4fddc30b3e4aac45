// What services ask of API servers, and what deploy/rbac grants them.
import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { runAggregator } from "@sluice/aggregator";
import { MemoryServer, memoryBus } from "@sluice/bus/testing";
import { runConfigRenderer } from "@sluice/config-renderer";
import { connectCluster, type KubeClient, type KubeEvent, type KubeObject, resources } from "@sluice/kube";
import { type SandboxCluster, startCluster } from "@sluice/kube-sandbox";
import { runMemberWatcher } from "@sluice/member-watcher";
import { runPropagator } from "@sluice/propagator";
import { readPublicKey, writeFleetKey } from "@sluice/sealing";
import { createKit, type Kit } from "@sluice/service-kit";
import { applyFile, eventually, policy } from "./clusters.ts";
import { granted, misfits, Overheard, type Right, rightOf } from "./rights.ts";

const timeout = 280_000;
const rbac = (name: string) => fileURLToPath(new URL(`../../deploy/rbac/${name}.yaml`, import.meta.url));

/** Looks for what is left of kinds that no policy names any more; a refusal is an empty answer. */
const lookingAround = (url: string) => url.includes("labelSelector=") && url.endsWith("limit=1");

/** By the file that grants it: a process at one API server. */
const places = {
  "member/member-watcher": "member1",
  "hub/aggregator": "hub",
  "hub/config-renderer": "hub",
  "hub/propagator": "hub",
  "member/propagator": "member1",
} as const;
type Place = keyof typeof places;

/** A hub and a member, and every service that asks one of them for something, each overheard by itself. */
class World {
  readonly #clusters = new Map<string, SandboxCluster>();
  readonly #people = new Map<string, KubeClient>();
  readonly overheard = new Map<Place, Overheard>();
  readonly #server = new MemoryServer();
  readonly #ending = new AbortController();
  readonly #stops: (() => Promise<void>)[] = [];
  readonly #folder: string;

  private constructor(folder: string) {
    this.#folder = folder;
  }

  static async start(): Promise<World> {
    const world = new World(await mkdtemp(join(tmpdir(), "sluice-rights-")));
    for (const name of ["hub", "member1"]) {
      const cluster = await startCluster({ name });
      world.#clusters.set(name, cluster);
      world.#people.set(name, await connectCluster({ name, kubeconfig: cluster.kubeconfig() }));
    }
    for (const [place, cluster] of Object.entries(places) as [Place, string][])
      world.overheard.set(place, await Overheard.before(world.#clusters.get(cluster)!, lookingAround));
    return world;
  }

  get signal(): AbortSignal {
    return this.#ending.signal;
  }

  /** As a person who may do everything. */
  as(cluster: "hub" | "member1"): KubeClient {
    return this.#people.get(cluster)!;
  }

  apply(cluster: "hub" | "member1", object: KubeObject): Promise<KubeObject> {
    return eventually(`${object.kind} ${object.metadata.name} in ${cluster}`, () =>
      this.as(cluster).apply(object, { fieldManager: "test", force: true }, this.signal),
    );
  }

  #client(place: Place): KubeClient {
    return this.overheard.get(place)!.client;
  }

  #run(role: string, start: (bus: ReturnType<typeof memoryBus>, kit: Kit) => Promise<void>) {
    const stopping = new AbortController();
    const kit = createKit({ service: role, signal: stopping.signal });
    const bus = memoryBus({ role, signal: stopping.signal, server: this.#server, kit });
    const done = start(bus, kit);
    this.#stops.push(async () => {
      stopping.abort(new Error("stopped"));
      await done;
    });
  }

  async services(): Promise<void> {
    const fleetKey = await readPublicKey((await writeFleetKey(this.#folder)).publicFile);
    this.#run("member-watcher", (bus, kit) =>
      runMemberWatcher({ bus, members: [this.#client("member/member-watcher")] }, kit),
    );
    this.#run("aggregator", (bus, kit) =>
      runAggregator(
        { bus, hub: this.#client("hub/aggregator") },
        { members: ["member1"], peers: new Map(), refused: [] },
        kit,
      ),
    );
    this.#run("config-renderer", (bus, kit) =>
      runConfigRenderer(
        { bus, hub: this.#client("hub/config-renderer") },
        {
          fleet: "default",
          ingressClasses: ["nginx"],
          watchWithoutClass: false,
          publishAddresses: ["192.0.2.1"],
          configMap: { namespace: "shop", name: "options" },
          fleetKey,
          peers: {},
        },
        kit,
      ),
    );
    this.#run("propagator", (_bus, kit) =>
      runPropagator(
        { hub: this.#client("hub/propagator"), members: [this.#client("member/propagator")] },
        kit,
      ),
    );
  }

  async stop(): Promise<void> {
    for (const stop of this.#stops.splice(0).reverse()) await stop();
  }

  /** `<reason> <times>` of Events in the hub's namespace shop, by who says them. */
  async events(component: string): Promise<readonly number[]> {
    const events = await this.as("hub").list<KubeEvent>(resources.event, { namespace: "shop" }, this.signal);
    return events.items
      .filter(({ reportingComponent }) => reportingComponent === component)
      .map(({ count = 1 }) => count);
  }

  async close(): Promise<void> {
    await this.stop();
    this.#ending.abort(new Error("the test is over"));
    for (const each of this.overheard.values()) await each.close();
    for (const client of this.#people.values()) client.close();
    for (const cluster of this.#clusters.values()) await cluster.close();
    await rm(this.#folder, { recursive: true, force: true });
  }
}

const meta = (name: string, more: object = {}) => ({ name, namespace: "shop", ...more });
const service = (name: string, more: object = {}) =>
  ({
    apiVersion: "v1",
    kind: "Service",
    metadata: meta(name, more),
    spec: { ports: [{ port: 80 }] },
  }) as KubeObject;
const exportOf = (name: string): KubeObject => ({
  apiVersion: "multicluster.x-k8s.io/v1alpha1",
  kind: "ServiceExport",
  metadata: meta(name),
});
const importOf = (name: string) =>
  ({
    apiVersion: "multicluster.x-k8s.io/v1alpha1",
    kind: "ServiceImport",
    metadata: meta(name),
    spec: { type: "ClusterSetIP", ports: [{ port: 80, protocol: "TCP" }] },
  }) as KubeObject;
const slice = (name: string, addresses: readonly string[]) =>
  ({
    apiVersion: "discovery.k8s.io/v1",
    kind: "EndpointSlice",
    metadata: meta(name, { labels: { "kubernetes.io/service-name": "cart" } }),
    addressType: "IPv4",
    ports: [{ name: "", port: 8080, protocol: "TCP" }],
    endpoints: [{ addresses, conditions: { ready: true } }],
  }) as KubeObject;
const deployment = {
  apiVersion: "apps/v1",
  kind: "Deployment",
  metadata: meta("cart"),
  spec: {
    replicas: 0,
    selector: { matchLabels: { app: "cart" } },
    template: {
      metadata: { labels: { app: "cart" } },
      spec: { containers: [{ name: "cart", image: "echo" }] },
    },
  },
} as KubeObject;

const NGINX = "nginx.ingress.kubernetes.io";
/** Of an unknown annotation, a Secret that is not there, and headers of a ConfigMap. */
const ingress = {
  apiVersion: "networking.karmada.io/v1alpha1",
  kind: "MultiClusterIngress",
  metadata: meta("shop", {
    annotations: { [`${NGINX}/nonsense`]: "1", [`${NGINX}/custom-headers`]: "shop/headers" },
  }),
  spec: {
    ingressClassName: "nginx",
    tls: [{ hosts: ["shop.example.test"], secretName: "gone" }],
    rules: [
      {
        host: "shop.example.test",
        http: {
          paths: [
            { path: "/", pathType: "Prefix", backend: { service: { name: "cart", port: { number: 80 } } } },
          ],
        },
      },
    ],
  },
} as KubeObject;

const PROPAGATED = [
  { apiVersion: "v1", kind: "Service", name: "cart" },
  { apiVersion: "apps/v1", kind: "Deployment", name: "cart" },
  { apiVersion: "multicluster.x-k8s.io/v1alpha1", kind: "ServiceExport", name: "cart" },
];
const EXPORTS_CRD = "serviceexports.multicluster.x-k8s.io";

/** What happens in such a world over the years. */
async function live(world: World): Promise<void> {
  const { signal } = world;
  const hub = world.as("hub");
  const member = world.as("member1");
  const crds = [
    "multicluster.x-k8s.io_serviceexports",
    "multicluster.x-k8s.io_serviceimports",
    "networking.karmada.io_multiclusteringresses",
    "policy.karmada.io_propagationpolicies",
    "policy.karmada.io_clusterpropagationpolicies",
  ];
  for (const crd of crds) await applyFile(hub, `deploy/crds/${crd}.yaml`, signal);
  await world.apply("hub", { apiVersion: "v1", kind: "Namespace", metadata: { name: "shop" } });
  const node = {
    apiVersion: "v1",
    kind: "Node",
    metadata: { name: "node-a" },
    spec: { podCIDR: "10.1.0.0/16" },
  };
  await world.apply("member1", node as KubeObject);
  await world.services();

  // Templates, and what brings them into the member, CRD and namespace included.
  for (const object of [service("cart"), deployment, exportOf("cart")]) await world.apply("hub", object);
  const selected = PROPAGATED.map(({ apiVersion, kind, name }) => ({ apiVersion, kind, name }));
  await world.apply("hub", policy(meta("cart"), { resourceSelectors: selected }, null));
  const crd = { apiVersion: "apiextensions.k8s.io/v1", kind: "CustomResourceDefinition", name: EXPORTS_CRD };
  await world.apply("hub", policy({ name: "crds" }, { resourceSelectors: [crd] }, null));
  const cart = { namespace: "shop", name: "cart" };
  await eventually("the export in the member", () => member.get(resources.serviceExport, cart, signal));
  await eventually("the Deployment in the member", () => member.get(resources.deployment, cart, signal));

  // Served, imported, and shown.
  await world.apply("member1", slice("cart-1", ["10.1.0.1"]));
  await world.apply("hub", importOf("cart"));
  const long = "x".repeat(60);
  await world.apply("hub", importOf(long));
  await world.apply("hub", ingress);
  const derived = { namespace: "shop", name: "derived-cart" };
  const imported = { namespace: "shop", name: "imported-member1-cart-1" };
  await eventually("the derived Service", () => hub.get(resources.service, derived, signal));
  await eventually("the imported slice", () => hub.get(resources.endpointSlice, imported, signal));
  await eventually("an address on the ingress", async () => {
    const found = await hub.get(resources.multiClusterIngress, { namespace: "shop", name: "shop" }, signal);
    return (found?.status?.loadBalancer?.ingress ?? []).length > 0;
  });
  await eventually("conditions on the export", async () => {
    const found = await member.get(resources.serviceExport, cart, signal);
    return (found?.status?.conditions ?? []).length > 0;
  });

  // Taken by somebody else in the member, and told; said again by whoever starts next.
  await world.apply("member1", service("taken"));
  await world.apply("hub", service("taken"));
  const taken = [{ apiVersion: "v1", kind: "Service", name: "taken" }];
  await world.apply("hub", policy(meta("taken"), { resourceSelectors: taken }, null));
  const speakers = ["sluice-aggregator", "sluice-config-renderer", "sluice-propagator"];
  for (const who of speakers)
    await eventually(`an Event of ${who}`, async () => (await world.events(who)).length > 0);
  await world.stop();
  await world.services();
  for (const who of speakers)
    await eventually(`${who} says it again`, async () => (await world.events(who)).some((n) => n > 1));

  // And all of it goes again.
  await hub.delete(resources.serviceImport, cart, {}, signal);
  await eventually(
    "no derived Service",
    async () => (await hub.get(resources.service, derived, signal)) === null,
  );
  await hub.delete(resources.propagationPolicy, cart, {}, signal);
  await eventually("no Deployment in the member", async () => {
    return (await member.get(resources.deployment, cart, signal)) === null;
  });
  await hub.delete(resources.clusterPropagationPolicy, { name: "crds" }, {}, signal);
  await eventually("no CRD in the member", async () => {
    return (await member.get(resources.customResourceDefinition, { name: EXPORTS_CRD }, signal)) === null;
  });
  await hub.delete(resources.namespace, { name: "shop" }, {}, signal);
  await eventually("no namespace in the member", async () => {
    return (await member.get(resources.namespace, { name: "shop" }, signal)) === null;
  });
}

test("requests are seen as Kubernetes' authorizer sees them", () => {
  const seen: Readonly<Record<string, Right | null>> = {
    "GET /version": null,
    "GET /apis/apps/v1": null,
    "GET /api/v1/namespaces": "list namespaces",
    "GET /api/v1/namespaces/shop": "get namespaces",
    "GET /api/v1/services?watch=true": "watch services",
    "GET /api/v1/namespaces/shop/secrets?fieldSelector=metadata.name%3Da": "list secrets",
    "GET /api/v1/namespaces/shop/secrets/a": "get secrets",
    "PATCH /apis/apps/v1/namespaces/shop/deployments/a": "patch deployments.apps",
    "PATCH /apis/example.test/v1/namespaces/shop/things/a/status": "patch things.example.test/status",
    "POST /api/v1/namespaces/shop/events": "create events",
    "DELETE /api/v1/namespaces/shop": "delete namespaces",
    "DELETE /api/v1/namespaces/shop/pods": "deletecollection pods",
  };
  for (const [asked, right] of Object.entries(seen)) {
    const [method = "", url = ""] = asked.split(" ");
    assert.equal(rightOf(method, url), right, asked);
  }
});

describe("rights", { timeout }, () => {
  let world: World;
  before(async () => {
    world = await World.start();
    await live(world);
  });
  after(() => world.close());

  for (const place of Object.keys(places) as Place[]) {
    test(`deploy/rbac/${place}.yaml grants what it asks for, and no more`, async () => {
      const rules = granted(rbac(place));
      const { asked } = world.overheard.get(place)!;
      // What is asked for late is not too much.
      await eventually(`all of it`, async () => rules.difference(asked).size === 0).catch(() => {});
      assert.deepEqual(misfits(asked, rules), []);
    });
  }

  test("a verb that is not granted, and one that nobody uses, are named", () => {
    const rules = granted(rbac("hub/aggregator"));
    const { asked } = world.overheard.get("hub/aggregator")!;
    rules.delete("patch services");
    rules.add("delete nodes");
    assert.deepEqual(misfits(asked, rules), [
      "asked for and not granted: patch services",
      "granted and never asked for: delete nodes",
    ]);
  });
});
