import assert from "node:assert/strict";
import type { Agent } from "node:http";
import { setTimeout as delay } from "node:timers/promises";
import { KubeStatusError } from "@sluice/contracts";
import {
  type EndpointSlice,
  type KubeClient,
  type KubeEvent,
  type KubeObject,
  resources,
  type ServiceExport,
} from "@sluice/kube";
import { type Answer, get } from "../world/requests.ts";
import type { StartedWorld } from "../world/started-world.ts";

const WAIT_MS = 60_000;
const POLICY = "policy.karmada.io/v1alpha1";
const MCS = "multicluster.x-k8s.io/v1alpha1";

/** Waits until `check` holds; what it saw last stands in the failure. */
export async function eventually<T>(
  what: string,
  check: () => Promise<T | null | false | undefined>,
): Promise<T> {
  const deadline = performance.now() + WAIT_MS;
  let last: unknown;
  for (;;) {
    try {
      const seen = await check();
      if (seen !== null && seen !== false && seen !== undefined) return seen;
      last = seen;
    } catch (error) {
      last = error;
    }
    if (performance.now() > deadline) {
      assert.fail(
        `not within ${WAIT_MS / 1000} s: ${what}; last: ${last instanceof Error ? last.message : JSON.stringify(last)}`,
      );
    }
    await delay(20);
  }
}

export interface Workload {
  readonly name: string;
  readonly replicas?: number;
  readonly clusters: readonly string[];
  readonly image?: string;
}

/** One namespace of a world, and what a user does in it with Karmada's objects. */
export class Scenario {
  readonly world: StartedWorld;
  readonly namespace: string;
  readonly signal: AbortSignal;

  private constructor(world: StartedWorld, namespace: string, signal: AbortSignal) {
    this.world = world;
    this.namespace = namespace;
    this.signal = signal;
  }

  static async in(world: StartedWorld, namespace: string, signal: AbortSignal): Promise<Scenario> {
    const scenario = new Scenario(world, namespace, signal);
    await scenario.apply({ apiVersion: "v1", kind: "Namespace", metadata: { name: namespace } });
    return scenario;
  }

  get hub(): KubeClient {
    return this.world.cluster("hub");
  }

  /** The host that this scenario's routes are on. */
  get host(): string {
    return `${this.namespace}.example.test`;
  }

  async apply(object: KubeObject, client: KubeClient = this.hub): Promise<void> {
    await eventually(`${object.kind} ${object.metadata.name} applied`, async () => {
      try {
        await client.apply(object, { fieldManager: "e2e", force: true }, this.signal);
        return true;
      } catch (error) {
        // A kind, or a namespace, that is about to come.
        if (error instanceof KubeStatusError && error.status === 404) return false;
        throw error;
      }
    });
  }

  object(apiVersion: string, kind: string, name: string, rest: object = {}): KubeObject {
    return { apiVersion, kind, metadata: { name, namespace: this.namespace }, ...rest } as KubeObject;
  }

  policy(name: string, clusters: readonly string[], selectors: readonly object[]): KubeObject {
    const placement = { clusterAffinity: { clusterNames: clusters } };
    return this.object(POLICY, "PropagationPolicy", name, {
      spec: { resourceSelectors: selectors, placement },
    });
  }

  workloadObjects({
    name,
    replicas = 1,
    clusters,
    image = "example.test/hello-app:1.0",
  }: Workload): KubeObject[] {
    const labels = { app: name };
    const containers = [{ name, image, ports: [{ containerPort: 8080, protocol: "TCP" }] }];
    const template = { metadata: { labels }, spec: { containers, terminationGracePeriodSeconds: 2 } };
    return [
      this.object("apps/v1", "Deployment", name, {
        spec: { replicas, selector: { matchLabels: labels }, template },
      }),
      this.object("v1", "Service", name, {
        spec: { ports: [{ port: 81, targetPort: 8080 }], selector: labels },
      }),
      this.policy(`${name}-workload`, clusters, [
        { apiVersion: "apps/v1", kind: "Deployment", name },
        { apiVersion: "v1", kind: "Service", name },
      ]),
    ];
  }

  exportObjects(name: string, clusters: readonly string[]): KubeObject[] {
    return [
      this.object(MCS, "ServiceExport", name),
      this.policy(`${name}-export`, clusters, [{ apiVersion: MCS, kind: "ServiceExport", name }]),
    ];
  }

  importObject(name: string, port: object = { port: 81, protocol: "TCP" }): KubeObject {
    return this.object(MCS, "ServiceImport", name, { spec: { type: "ClusterSetIP", ports: [port] } });
  }

  ingressObject(name: string, service: string, path = "/", port: object = { number: 81 }): KubeObject {
    const backend = { service: { name: service, port } };
    const rules = [{ host: this.host, http: { paths: [{ path, pathType: "Prefix", backend }] } }];
    return this.object("networking.karmada.io/v1alpha1", "MultiClusterIngress", name, {
      spec: { ingressClassName: "nginx", rules },
    });
  }

  /** Workload, export, import and route of one service. */
  serviceObjects(workload: Workload): KubeObject[] {
    const { name, clusters } = workload;
    return [
      ...this.workloadObjects(workload),
      ...this.exportObjects(name, clusters),
      this.importObject(name),
      this.ingressObject(name, name),
    ];
  }

  async applyAll(objects: readonly KubeObject[]): Promise<void> {
    for (const object of objects) await this.apply(object);
  }

  async delete(apiVersion: string, kind: string, name: string, client: KubeClient = this.hub): Promise<void> {
    const type = await client.discover(apiVersion, kind, this.signal);
    assert.ok(type, `${kind} is served`);
    await client.delete(type, { namespace: this.namespace, name }, {}, this.signal);
  }

  async get(path = "/", host: string = this.host, agent?: Agent): Promise<Answer> {
    return get(`${this.world.addresses.proxy.http}${path}`, host, agent === undefined ? {} : { agent });
  }

  /** Names of the pods that answer now, over a few requests; fails on anything but 200. */
  async answering(requests = 12, path = "/"): Promise<Set<string>> {
    const pods = new Set<string>();
    for (let i = 0; i < requests; i++) {
      const answer = await this.get(path);
      assert.equal(answer.status, 200, answer.error ?? answer.body);
      pods.add(/^Hostname: (.+)$/m.exec(answer.body)?.[1] ?? answer.body);
    }
    return pods;
  }

  async podsOf(cluster: string, app: string): Promise<Set<string>> {
    const options = { namespace: this.namespace, labelSelector: `app=${app}` };
    const { items } = await this.world.cluster(cluster).list(resources.pod, options, this.signal);
    return new Set(
      items.filter((p) => p.metadata.deletionTimestamp === undefined).map((p) => p.metadata.name),
    );
  }

  /** Waits until exactly these clusters' pods answer for a service. */
  async answeredBy(app: string, clusters: readonly string[], pods?: number): Promise<Set<string>> {
    return eventually(`${app} answered by ${clusters.join(" and ")}`, async () => {
      const expected = new Set<string>();
      for (const cluster of clusters) for (const pod of await this.podsOf(cluster, app)) expected.add(pod);
      if (pods !== undefined && expected.size !== pods) return false;
      const seen = await this.answering(Math.max(12, expected.size * 6));
      return seen.size === expected.size && [...seen].every((pod) => expected.has(pod)) ? seen : false;
    });
  }

  /** Endpoints of the derived service in the hub, over all its imported slices. */
  async derivedEndpoints(service: string): Promise<string[]> {
    const labelSelector = `kubernetes.io/service-name=derived-${service}`;
    const { items } = await this.hub.list(
      resources.endpointSlice,
      { namespace: this.namespace, labelSelector },
      this.signal,
    );
    return items
      .flatMap((slice: EndpointSlice) => (slice.endpoints ?? []).flatMap((e) => e.addresses))
      .sort();
  }

  /** Events of the hub on one object of this namespace. */
  async eventsOn(kind: string, name: string): Promise<KubeEvent[]> {
    const { items } = await this.hub.list(resources.event, { namespace: this.namespace }, this.signal);
    return items.filter((e) => e.involvedObject.kind === kind && e.involvedObject.name === name);
  }

  async exportCondition(cluster: string, name: string, type: string) {
    const ref = { namespace: this.namespace, name };
    const object: ServiceExport | null = await this.world
      .cluster(cluster)
      .get(resources.serviceExport, ref, this.signal);
    return object?.status?.conditions?.find((condition) => condition.type === type) ?? null;
  }

  async scale(cluster: string, name: string, replicas: number): Promise<void> {
    const ref = { namespace: this.namespace, name };
    const client = this.world.cluster(cluster);
    await client.mergePatch(
      resources.deployment,
      ref,
      { spec: { replicas } },
      { subresource: "scale" },
      this.signal,
    );
  }
}

/** The CRDs of the MCS API in the members, as Karmada users bring them: by policy. */
export async function propagateCrds(
  world: StartedWorld,
  members: readonly string[],
  signal: AbortSignal,
): Promise<void> {
  for (const kind of ["serviceexports", "serviceimports"]) {
    const selector = {
      apiVersion: "apiextensions.k8s.io/v1",
      kind: "CustomResourceDefinition",
      name: `${kind}.multicluster.x-k8s.io`,
    };
    const policy = {
      apiVersion: POLICY,
      kind: "ClusterPropagationPolicy",
      metadata: { name: `${kind}-policy` },
      spec: { resourceSelectors: [selector], placement: { clusterAffinity: { clusterNames: members } } },
    } as KubeObject;
    await world.cluster("hub").apply(policy, { fieldManager: "e2e", force: true }, signal);
  }
}
