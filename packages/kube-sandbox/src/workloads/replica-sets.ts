import {
  type KubeClient,
  matchesLabels,
  objectKey,
  type Pod,
  Reconciler,
  type ReplicaSet,
  resources,
} from "@sluice/kube";
import type { WorkloadsKit } from "./kit.ts";
import type { Mirror } from "./mirror.ts";
import { generatedName } from "./names.ts";
import { controllerUid, isActive, isReady, ownedBy } from "./pods.ts";

/** Pods made or deleted in one go; the rest follow in the next round. */
const BURST = 100;

/** ReplicaSets → Pods. Pods of nobody are not adopted: a Deployment never makes any. */
export async function runReplicaSets(
  client: KubeClient,
  replicaSets: Mirror<ReplicaSet>,
  pods: Mirror<Pod>,
  kit: WorkloadsKit,
): Promise<void> {
  const podsOf = (set: ReplicaSet): Pod[] =>
    [...pods.in(set.metadata.namespace ?? "")].filter((pod) => controllerUid(pod) === set.metadata.uid);

  const reconciler = new Reconciler({
    name: "replica set",
    kit,
    workers: 8,
    async reconcile(key, signal) {
      const [namespace = "", name = ""] = key.split("/");
      const set = replicaSets.get(namespace, name);
      // Its pods are the API server's garbage once it is gone.
      if (set === undefined || set.metadata.deletionTimestamp !== undefined) return;
      const active = podsOf(set).filter(isActive);
      const missing = (set.spec.replicas ?? 1) - active.length;
      if (missing > 0) {
        await Promise.all(Array.from({ length: Math.min(missing, BURST) }, () => addPod(set, signal)));
      } else if (missing < 0) {
        const victims = active.toSorted(leastUsefulFirst).slice(0, Math.min(-missing, BURST));
        await Promise.all(victims.map((pod) => removePod(pod, signal)));
      }
      if (Math.abs(missing) > BURST) reconciler.add(key);
      await report(set, podsOf(set).filter(isActive), signal);
    },
  });

  async function addPod(set: ReplicaSet, signal: AbortSignal): Promise<void> {
    const namespace = set.metadata.namespace ?? "";
    const { template } = set.spec;
    const pod: Pod = {
      apiVersion: "v1",
      kind: "Pod",
      metadata: {
        name: generatedName(set.metadata.name),
        generateName: `${set.metadata.name}-`,
        namespace,
        ...(template.metadata?.labels === undefined ? {} : { labels: template.metadata.labels }),
        ...(template.metadata?.annotations === undefined
          ? {}
          : { annotations: template.metadata.annotations }),
        ownerReferences: ownedBy(set),
      },
      spec: template.spec,
    };
    const made = await client.create(resources.pod, pod, signal);
    await pods.until(namespace, made.metadata.name, (seen) => seen?.metadata.uid === made.metadata.uid);
  }

  async function removePod(pod: Pod, signal: AbortSignal): Promise<void> {
    const { namespace = "", name, uid = "" } = pod.metadata;
    await client.delete(resources.pod, { namespace, name }, { preconditions: { uid } }, signal);
    await pods.until(namespace, name, (seen) => seen === undefined || !isActive(seen));
  }

  async function report(set: ReplicaSet, active: readonly Pod[], signal: AbortSignal): Promise<void> {
    const ready = active.filter(isReady).length;
    const labels = set.spec.template.metadata?.labels ?? {};
    const status = {
      replicas: active.length,
      fullyLabeledReplicas: active.filter((pod) => matchesLabels(labels, pod.metadata.labels)).length,
      readyReplicas: ready,
      availableReplicas: ready,
      observedGeneration: set.metadata.generation ?? 0,
    };
    const old = set.status ?? {};
    const keys = Object.keys(status) as (keyof typeof status)[];
    if (keys.every((key) => (old[key] ?? 0) === status[key])) return;
    const { namespace, name } = set.metadata;
    await client.mergePatch(
      resources.replicaSet,
      { namespace, name },
      { status },
      { subresource: "status" },
      signal,
    );
  }

  replicaSets.onChange((change) => reconciler.add(change.key));
  pods.onChange((change) => {
    const pod = change.kind === "delete" ? change.old : change.object;
    const owner = pod.metadata.ownerReferences?.find((o) => o.controller === true && o.kind === "ReplicaSet");
    if (owner !== undefined) reconciler.add(`${pod.metadata.namespace}/${owner.name}`);
  });
  for (const set of replicaSets.all()) reconciler.add(objectKey(set));
  await reconciler.run();
}

/** Kubernetes' order of who goes first: unbound, not running, not ready, then the newest. */
function leastUsefulFirst(a: Pod, b: Pod): number {
  const rank = (pod: Pod) =>
    (pod.spec?.nodeName === undefined || pod.spec.nodeName === "" ? 0 : 4) +
    (pod.status?.phase === "Running" ? 2 : 0) +
    (isReady(pod) ? 1 : 0);
  if (rank(a) !== rank(b)) return rank(a) - rank(b);
  const age = (b.metadata.creationTimestamp ?? "").localeCompare(a.metadata.creationTimestamp ?? "");
  return age !== 0 ? age : a.metadata.name.localeCompare(b.metadata.name);
}
