import { setTimeout as delay } from "node:timers/promises";
import type { KubeClient, KubeObject } from "@sluice/kube";
import { startedWorld } from "../world/started-world.ts";
import { Asker } from "./asker.ts";
import { type BenchResult, thisMachine, writeRaw } from "./bench-result.ts";
import { NAMESPACE, prepareCluster } from "./imported-service.ts";

export interface DrainOptions {
  readonly signal: AbortSignal;
  /** Roll-outs of each kind. */
  readonly rolls: number;
  /** Requests a second that go on meanwhile. */
  readonly load: number;
  log(line: string): void;
}

const PODS = 10;
const CONNECTIONS = 8;
const ROLL_MS = 120_000;

/** How the pods of a service end, and whether a request that met one that has ended is sent to another. */
interface Way {
  readonly name: "graceful" | "abrupt" | "abruptUnretried";
  readonly graceSeconds: number;
  readonly annotations: Readonly<Record<string, string>>;
}

const ways: readonly Way[] = [
  { name: "graceful", graceSeconds: 30, annotations: {} },
  { name: "abrupt", graceSeconds: 0, annotations: {} },
  // Nothing that the proxy could do is done: requests have to fail here, or the others prove nothing.
  {
    name: "abruptUnretried",
    graceSeconds: 0,
    annotations: { "nginx.ingress.kubernetes.io/proxy-next-upstream": "off" },
  },
];

interface Run {
  readonly way: Way["name"];
  readonly requests: number;
  readonly failed: number;
  readonly seconds: number;
  readonly firstFailure: string;
}

const hostOf = ({ name }: Way) => `${name.toLowerCase()}.example.test`;

async function apply(client: KubeClient, objects: readonly object[], signal: AbortSignal): Promise<void> {
  for (const object of objects) {
    await client.apply(object as KubeObject, { fieldManager: "bench", force: true }, signal);
  }
}

function deployment(way: Way, roll: number): object {
  const name = way.name.toLowerCase();
  const labels = { app: name };
  return {
    apiVersion: "apps/v1",
    kind: "Deployment",
    metadata: { name, namespace: NAMESPACE },
    spec: {
      replicas: PODS,
      selector: { matchLabels: labels },
      template: {
        metadata: { labels, annotations: { roll: String(roll) } },
        spec: {
          terminationGracePeriodSeconds: way.graceSeconds,
          containers: [{ name: "hello", image: "hello-app:1.0", ports: [{ containerPort: 8080 }] }],
        },
      },
    },
  };
}

function objectsOf(way: Way): { member: object[]; hub: object[] } {
  const name = way.name.toLowerCase();
  const metadata = { name, namespace: NAMESPACE };
  const mcs = "multicluster.x-k8s.io/v1alpha1";
  const backend = { service: { name, port: { number: 80 } } };
  const rules = [{ host: hostOf(way), http: { paths: [{ path: "/", pathType: "Prefix", backend }] } }];
  return {
    member: [
      deployment(way, 0),
      {
        apiVersion: "v1",
        kind: "Service",
        metadata,
        spec: { selector: { app: name }, ports: [{ port: 80, targetPort: 8080 }] },
      },
      { apiVersion: mcs, kind: "ServiceExport", metadata },
    ],
    hub: [
      {
        apiVersion: mcs,
        kind: "ServiceImport",
        metadata,
        spec: { type: "ClusterSetIP", ports: [{ port: 80, protocol: "TCP" }] },
      },
      {
        apiVersion: "networking.karmada.io/v1alpha1",
        kind: "MultiClusterIngress",
        metadata: { ...metadata, annotations: way.annotations },
        spec: { ingressClassName: "nginx", rules },
      },
    ],
  };
}

interface DeploymentStatus {
  readonly metadata: { readonly generation?: number };
  readonly status?: Readonly<Record<string, number>>;
}

/** Until all pods are of the newest template, and those of another have ended. */
async function rolledOut(member: KubeClient, way: Way, signal: AbortSignal): Promise<void> {
  const name = way.name.toLowerCase();
  const path = `${member.server}/apis/apps/v1/namespaces/${NAMESPACE}/deployments/${name}`;
  const pods = `${member.server}/api/v1/namespaces/${NAMESPACE}/pods?labelSelector=app%3D${name}`;
  const deadline = performance.now() + ROLL_MS;
  for (;;) {
    const answer = await fetch(path, { signal });
    const { metadata, status = {} } = (await answer.json()) as DeploymentStatus;
    const all = ["updatedReplicas", "readyReplicas", "replicas"].every((key) => status[key] === PODS);
    if (all && status["observedGeneration"] === metadata.generation) {
      const { items } = (await (await fetch(pods, { signal })).json()) as {
        readonly items: readonly unknown[];
      };
      if (items.length === PODS) return;
    }
    if (performance.now() > deadline)
      throw new Error(`${way.name}: not rolled out: ${JSON.stringify(status)}`);
    await delay(50, undefined, { signal });
  }
}

/** Sends requests until it is told to stop. */
class Load {
  requests = 0;
  failed = 0;
  firstFailure = "";

  async run(url: string, host: string, perSecond: number, signal: AbortSignal): Promise<void> {
    const one = async () => {
      using asker = new Asker(url);
      const began = performance.now();
      for (let n = 0; !signal.aborted; n++) {
        const body = await asker.ask(host);
        this.requests++;
        if (!body.startsWith("Hello, world!")) {
          this.failed++;
          this.firstFailure ||= JSON.stringify(body);
        }
        const wait = began + ((n + 1) * 1000 * CONNECTIONS) / perSecond - performance.now();
        // Nothing but the end of the run cuts a pause short.
        if (wait > 0) await delay(wait, undefined, { signal }).catch(() => {});
      }
    };
    await Promise.all(Array.from({ length: CONNECTIONS }, one));
  }
}

/** A service of ten pods is rolled again and again while requests go on; once as it should be, and twice as it should not. */
export async function drain({ signal, rolls, load, log }: DrainOptions): Promise<BenchResult> {
  await using world = await startedWorld(["--empty", "--members", "1"], signal);
  const [hub, member] = [world.cluster("hub"), world.cluster("member1")];
  await prepareCluster(hub, false, signal);
  await prepareCluster(member, true, signal);
  const runs: Run[] = [];
  for (const way of ways) {
    const objects = objectsOf(way);
    await apply(member, objects.member, signal);
    await apply(hub, objects.hub, signal);
    await rolledOut(member, way, signal);
    await answers(world.addresses.proxy.http, hostOf(way), signal);
    const meanwhile = new Load();
    const over = new AbortController();
    const loading = meanwhile.run(
      world.addresses.proxy.http,
      hostOf(way),
      load,
      AbortSignal.any([signal, over.signal]),
    );
    const began = performance.now();
    for (let roll = 1; roll <= rolls; roll++) {
      await apply(member, [deployment(way, roll)], signal);
      await rolledOut(member, way, signal);
    }
    over.abort();
    await loading;
    const { requests, failed, firstFailure } = meanwhile;
    runs.push({ way: way.name, requests, failed, seconds: (performance.now() - began) / 1000, firstFailure });
    log(`${way.name}: ${failed} of ${requests} requests failed ${firstFailure}`);
  }
  if (runs.some(({ way, failed }) => way === "abruptUnretried" && failed === 0))
    throw new Error(
      "no request failed where every pod that one met had ended: the load says nothing of the others",
    );
  const figures: Record<string, number> = {};
  for (const { way, requests, failed, seconds } of runs) {
    const of = way === "graceful" ? "" : way === "abrupt" ? "abrupt_" : "control_";
    Object.assign(figures, {
      [`${of}failed`]: failed,
      [`${of}requests`]: requests,
      [`${of}seconds`]: seconds,
    });
  }
  return {
    bench: "drain",
    figures,
    goals: { failed: 0, abrupt_failed: 0 },
    samples: rolls * PODS * ways.length,
    raw: await writeRaw("drain", runs),
    machine: thisMachine(),
  };
}

async function answers(url: string, host: string, signal: AbortSignal): Promise<void> {
  using asker = new Asker(url);
  const deadline = performance.now() + ROLL_MS;
  while (!(await asker.ask(host)).startsWith("Hello, world!")) {
    if (performance.now() > deadline) throw new Error(`${host} never answered`);
    await delay(50, undefined, { signal });
  }
}
