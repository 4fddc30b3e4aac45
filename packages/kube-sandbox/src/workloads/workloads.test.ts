import assert from "node:assert/strict";
import { get } from "node:http";
import { after, before, beforeEach, describe, test } from "node:test";
import { connectCluster, type EndpointSlice, type KubeClient, type Pod, resources } from "@sluice/kube";
import { type SandboxCluster, startCluster } from "../cluster.ts";
import { silentLogger } from "../logger.ts";
import { startWorkloads } from "./mod.ts";
import { READY_ANNOTATION } from "./pod-status.ts";

const signal = AbortSignal.timeout(280_000);
const range = "127.231.0.0/16";
let cluster: SandboxCluster;
let client: KubeClient;
let workloads: { close(): Promise<void> };
let namespace: string;
let round = 0;

before(async () => {
  cluster = await startCluster({ name: "member1" });
  client = await connectCluster({ name: "member1", kubeconfig: cluster.kubeconfig() });
  workloads = await startWorkloads({ cluster, signal, log: silentLogger, podRange: range });
});
after(async () => {
  client.close();
  await workloads.close();
  await cluster.close();
});
beforeEach(async () => {
  round += 1;
  namespace = `shop-${round}`;
  await client.create(
    resources.namespace,
    { apiVersion: "v1", kind: "Namespace", metadata: { name: namespace } },
    signal,
  );
});

/** Asks again every few milliseconds until `look` answers something, at most a minute. */
async function eventually<T>(what: string, look: () => Promise<T | null | undefined | false>): Promise<T> {
  const until = performance.now() + 60_000;
  for (;;) {
    const found = await look();
    if (found !== null && found !== undefined && found !== false) return found;
    if (performance.now() > until) throw new Error(`still waiting for: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

function deployment(name: string, replicas: number, image = "example.test/hello-app:1.0") {
  return {
    apiVersion: "apps/v1",
    kind: "Deployment",
    metadata: { name, namespace },
    spec: {
      replicas,
      selector: { matchLabels: { app: name } },
      template: {
        metadata: { labels: { app: name } },
        spec: { containers: [{ name: "main", image, ports: [{ containerPort: 8080, name: "web" }] }] },
      },
    },
  };
}

function service(name: string, targetPort: number | string = 8080) {
  return {
    apiVersion: "v1",
    kind: "Service",
    metadata: { name, namespace },
    spec: { selector: { app: name }, ports: [{ name: "http", port: 81, targetPort }] },
  };
}

async function apply(object: Parameters<KubeClient["apply"]>[0]): Promise<void> {
  await client.apply(object, { fieldManager: "test", force: true }, signal);
}

async function slices(name: string): Promise<EndpointSlice[]> {
  const labelSelector = `kubernetes.io/service-name=${name}`;
  return (await client.list(resources.endpointSlice, { namespace, labelSelector }, signal)).items;
}

async function pods(): Promise<Pod[]> {
  return (await client.list(resources.pod, { namespace }, signal)).items;
}

async function readyAddresses(name: string): Promise<string[]> {
  return (await slices(name))
    .flatMap((slice) => slice.endpoints ?? [])
    .filter((endpoint) => endpoint.conditions?.ready === true)
    .flatMap((endpoint) => endpoint.addresses);
}

async function readyCount(name: string, count: number): Promise<string[]> {
  return await eventually(`${count} ready endpoints of ${name}`, async () => {
    const addresses = await readyAddresses(name);
    return addresses.length === count && addresses;
  });
}

async function ask(address: string, path = "/"): Promise<{ status: number; body: string }> {
  return await new Promise((resolve, reject) => {
    const request = get({ host: address, port: 8080, path, agent: false, timeout: 60_000 }, (response) => {
      let body = "";
      response.setEncoding("utf8");
      response.on("data", (text: string) => {
        body += text;
      });
      response.on("end", () => resolve({ status: response.statusCode ?? 0, body }));
    });
    request.on("timeout", () => request.destroy(new Error("no answer")));
    request.on("error", reject);
  });
}

describe("a Deployment with a Service", () => {
  test("answers from a pod whose address is in an EndpointSlice", async (t) => {
    await apply(service("shop"));
    const start = performance.now();
    await apply(deployment("shop", 1));
    const [address = ""] = await readyCount("shop", 1);
    const tookMs = performance.now() - start;
    assert.match(address, /^127\.231\./);
    const [pod] = await pods();
    assert.match(pod?.metadata.name ?? "", /^shop-[b-z0-9]{10}-[b-z0-9]{5}$/);
    assert.equal(
      (await ask(address, "/any/path")).body,
      `Hello, world!\nVersion: 1.0.0\nHostname: ${pod?.metadata.name}\n`,
    );
    const [slice] = await slices("shop");
    assert.deepEqual(slice?.ports, [{ name: "http", protocol: "TCP", port: 8080 }]);
    assert.equal(
      slice?.metadata.labels?.["endpointslice.kubernetes.io/managed-by"],
      "endpointslice-controller.k8s.io",
    );
    assert.equal(slice?.metadata.ownerReferences?.[0]?.kind, "Service");
    assert.equal(slice?.endpoints?.[0]?.targetRef?.name, pod?.metadata.name);
    t.diagnostic(`Deployment applied to endpoint ready: ${tookMs.toFixed(0)} ms`);
  });

  test("says Available when all is well, and follows its template step by step without a gap", async () => {
    await apply(service("shop"));
    await apply(deployment("shop", 3));
    await readyCount("shop", 3);
    await apply(deployment("shop", 3, "example.test/hello-app:2.0"));
    let least = 3;
    await eventually("the new version everywhere", async () => {
      const addresses = await readyAddresses("shop");
      least = Math.min(least, addresses.length);
      const now = await client.get(resources.deployment, { namespace, name: "shop" }, signal);
      const status = now?.status;
      return (
        status?.updatedReplicas === 3 &&
        status.replicas === 3 &&
        status.availableReplicas === 3 &&
        status.observedGeneration === now?.metadata.generation
      );
    });
    assert.equal(least, 3, "maxUnavailable of 25 % of 3 is none");
    const now = await client.get(resources.deployment, { namespace, name: "shop" }, signal);
    assert.deepEqual(
      now?.status?.conditions?.map((c) => [c.type, c.status, c.reason]),
      [
        ["Available", "True", "MinimumReplicasAvailable"],
        ["Progressing", "True", "NewReplicaSetAvailable"],
      ],
    );
    for (const address of await readyCount("shop", 3)) {
      assert.match((await ask(address)).body, /Version: 2\.0\.0/);
    }
  });

  test("shrinks to nothing and grows again; a leaving pod is shown terminating while it still serves", async () => {
    await apply(service("shop"));
    await apply(deployment("shop", 1));
    const [address = ""] = await readyCount("shop", 1);
    await apply(deployment("shop", 0));
    const endpoint = await eventually("a terminating endpoint", async () =>
      (await slices("shop"))
        .flatMap((s) => s.endpoints ?? [])
        .find((e) => e.conditions?.terminating === true),
    );
    assert.deepEqual(endpoint.conditions, { ready: false, serving: true, terminating: true });
    assert.equal((await ask(address)).status, 200);
    await eventually("no pod", async () => (await pods()).length === 0);
    await assert.rejects(ask(address), { code: "ECONNREFUSED" });
    const left = await slices("shop");
    assert.equal(left.length, 1);
    assert.deepEqual(left[0]?.endpoints ?? [], []);
    await apply(deployment("shop", 2));
    assert.equal(new Set(await readyCount("shop", 2)).size, 2);
  });

  test("spreads over slices of at most 100 endpoints", async () => {
    await apply(service("shop"));
    await apply(deployment("shop", 101));
    await readyCount("shop", 101);
    // Pods of the test before may still be leaving, shown as terminating.
    const sizes = await eventually("an endpoint for each pod and no other", async () => {
      const found = (await slices("shop")).map((slice) => slice.endpoints?.length ?? 0);
      return found.reduce((a, b) => a + b, 0) === 101 ? found : undefined;
    });
    assert.ok(Math.max(...sizes) <= 100, sizes.join());
  });

  test("takes its slices along when the Service is deleted", async () => {
    await apply(service("shop"));
    await apply(deployment("shop", 1));
    await readyCount("shop", 1);
    await client.delete(resources.service, { namespace, name: "shop" }, {}, signal);
    await eventually("no slice", async () => (await slices("shop")).length === 0);
  });

  test("leaves nothing behind when it is deleted itself", async () => {
    await apply(deployment("shop", 2));
    await eventually("two pods", async () => (await pods()).length === 2);
    await client.delete(resources.deployment, { namespace, name: "shop" }, {}, signal);
    await eventually("no pod", async () => (await pods()).length === 0);
    assert.deepEqual((await client.list(resources.replicaSet, { namespace }, signal)).items, []);
  });
});

describe("a pod", () => {
  async function onePod(image?: string): Promise<Pod> {
    await apply(service("shop", "web"));
    await apply(deployment("shop", 1, image));
    return await eventually("a pod with a status", async () =>
      (await pods()).find((pod) => pod.status?.containerStatuses !== undefined),
    );
  }

  test("is found through a Service's named target port", async () => {
    await onePod();
    await readyCount("shop", 1);
    assert.equal((await slices("shop"))[0]?.ports?.[0]?.port, 8080);
  });

  test("is not ready while its annotation says so", async () => {
    const { name } = (await onePod()).metadata;
    await readyCount("shop", 1);
    const annotate = async (value: string | null) => {
      const patch = { metadata: { annotations: { [READY_ANNOTATION]: value } } };
      await client.mergePatch(resources.pod, { namespace, name }, patch, {}, signal);
    };
    await annotate("false");
    await readyCount("shop", 0);
    assert.deepEqual((await slices("shop"))[0]?.endpoints?.[0]?.conditions, {
      ready: false,
      serving: false,
      terminating: false,
    });
    await annotate(null);
    await readyCount("shop", 1);
  });

  test("of an unknown image waits and an Event says which images there are", async () => {
    const pod = await onePod("example.test/database:3");
    assert.equal(pod.status?.phase, "Pending");
    assert.deepEqual(Object.keys(pod.status?.containerStatuses?.[0]?.state ?? {}), ["waiting"]);
    const event = await eventually("an Event", async () =>
      (await client.list(resources.event, { namespace }, signal)).items.find(
        (e) => e.reason === "ImageNotKnown" && e.involvedObject.name === pod.metadata.name,
      ),
    );
    assert.match(event.message ?? "", /hello-app or echo/);
  });

  test("of the echo image answers with what it was asked", async () => {
    const pod = await onePod("example.test/team/echo:latest");
    const [address = ""] = await readyCount("shop", 1);
    const answer = JSON.parse((await ask(address, "/x?y=1")).body) as Record<string, unknown>;
    assert.equal(answer["pod"], pod.metadata.name);
    assert.equal(answer["method"], "GET");
    assert.equal(answer["path"], "/x?y=1");
  });

  test("refuses or never answers while its cluster is told so, and is well afterwards", async () => {
    await onePod();
    const [address = ""] = await readyCount("shop", 1);
    await cluster.setFault({ pods: "refuse" });
    await eventually("refusal", async () =>
      ask(address).then(
        () => false,
        (error: unknown) => (error as NodeJS.ErrnoException).code === "ECONNREFUSED",
      ),
    );
    await cluster.setFault({ pods: "hang" });
    const waiting = await eventually("a held request", async () => {
      const asked = ask(address).catch((error: unknown) => error as NodeJS.ErrnoException);
      const first = await Promise.race([asked, new Promise<null>((r) => setTimeout(() => r(null), 200))]);
      return first === null && { asked };
    });
    await cluster.setFault({ pods: "none" });
    assert.equal(((await waiting.asked) as { status: number }).status, 200);
    assert.equal((await ask(address)).status, 200);
  });
});
