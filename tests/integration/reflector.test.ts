import assert from "node:assert/strict";
import { after, afterEach, before, beforeEach, describe, test } from "node:test";
import {
  type Change,
  connectCluster,
  type KubeClient,
  type Reflector,
  reflect,
  resources,
  type ServiceExport,
} from "@sluice/kube";
import { type SandboxCluster, startCluster } from "@sluice/kube-sandbox";
import { createKit } from "@sluice/service-kit";
import { applyFile, eventually } from "./clusters.ts";

const signal = AbortSignal.timeout(280_000);
const crd = { name: "serviceexports.multicluster.x-k8s.io" };
let cluster: SandboxCluster;
let client: KubeClient;
let stopping: AbortController;
let exports: Reflector<ServiceExport>;
let changes: Change<ServiceExport>[];

before(async () => {
  cluster = await startCluster({ name: "member1" });
  client = await connectCluster({ name: "member1", kubeconfig: cluster.kubeconfig() });
});
after(async () => {
  client.close();
  await cluster.close();
});
beforeEach(() => {
  stopping = new AbortController();
  changes = [];
  exports = reflect({
    client,
    type: resources.serviceExport,
    kit: createKit({ service: "test", signal: stopping.signal }),
    onChange: (change) => changes.push(change),
  });
});
afterEach(async () => {
  stopping.abort(new Error("over"));
  await exports.done;
  await cluster.setFault({ api: "none" });
  await client.delete(resources.customResourceDefinition, crd, {}, signal);
});

async function makeCrd(): Promise<void> {
  await applyFile(client, "deploy/crds/multicluster.x-k8s.io_serviceexports.yaml", signal);
}

async function makeExport(name: string): Promise<void> {
  const object = {
    apiVersion: "multicluster.x-k8s.io/v1alpha1",
    kind: "ServiceExport",
    metadata: { name, namespace: "default" },
  };
  await eventually(`export ${name}`, async () => {
    await client.apply(object, { fieldManager: "test" }, signal);
    return true;
  });
}

async function sees(...names: string[]): Promise<void> {
  const wanted = names.map((name) => `default/${name}`);
  await eventually(`exactly ${wanted.join(", ")}`, async () => {
    return [...exports.objects.keys()].toSorted().join() === wanted.toSorted().join();
  });
}

describe("against an API server, a reflector", () => {
  test("meets a CRD that comes late, and sees its objects go with it", async (t) => {
    await eventually("waiting", async () => exports.state.kind === "waiting-for-resource");
    await makeCrd();
    await makeExport("a");
    const start = performance.now();
    await sees("a");
    t.diagnostic(`seen after ${(performance.now() - start).toFixed(0)} ms`);
    await makeExport("b");
    await eventually("a watch that is open", async () => changes.at(-1)?.fromList === false);
    await client.delete(resources.customResourceDefinition, crd, {}, signal);
    await sees();
    assert.equal(changes.at(-1)?.fromList, false, "the watch told of the deletion, not a missing list");
    await eventually("waiting again", async () => exports.state.kind === "waiting-for-resource");
    await makeCrd();
    await makeExport("c");
    await sees("c");
  });

  test("goes on through reset watches, expired versions and refused connections", async () => {
    await makeCrd();
    await makeExport("a");
    await exports.listed(signal);
    for (const [i, api] of (["reset", "gone", "refuse", "unauthorized", "hang"] as const).entries()) {
      await eventually("watching", async () => exports.state.kind === "watching");
      await cluster.setFault({ api });
      await cluster.setFault({ api: "none" });
      await makeExport(`after-${i}`);
    }
    await sees("a", "after-0", "after-1", "after-2", "after-3", "after-4");
    assert.equal(changes.filter((change) => change.kind === "delete").length, 0);
  });

  test("tells of a change as soon as its writer is answered, or nearly so", async (t) => {
    await makeCrd();
    await makeExport("a");
    await sees("a");
    await eventually("watching", async () => exports.state.kind === "watching");
    const writes: number[] = [];
    const delays: number[] = [];
    for (let i = 0; i < 200; i += 1) {
      const before = changes.length;
      const began = performance.now();
      const patch = { metadata: { annotations: { round: String(i) } } };
      await client.mergePatch(
        resources.serviceExport,
        { namespace: "default", name: "a" },
        patch,
        {},
        signal,
      );
      const answered = performance.now();
      while (changes.length === before) await new Promise((resolve) => setImmediate(resolve));
      writes.push(answered - began);
      delays.push(performance.now() - answered);
    }
    const median = (times: readonly number[]) => times.toSorted((a, b) => a - b)[100] ?? Number.NaN;
    const [write, delay] = [median(writes), median(delays)];
    const shown = `${delay.toFixed(2)} ms after the writer's answer, which took ${write.toFixed(2)} ms, in the middle of 200`;
    t.diagnostic(shown);
    // Both are work of this process and a few hops: on a slow machine both are slow, a pause would be in the one alone.
    assert.ok(delay < 10 * write, shown);
  });
});
