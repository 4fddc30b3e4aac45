import {
  type Condition,
  type Deployment,
  type KubeClient,
  objectKey,
  Reconciler,
  type ReplicaSet,
  resources,
} from "@sluice/kube";
import { kubeTime, systemClock } from "../clock.ts";
import type { WorkloadsKit } from "./kit.ts";
import type { Mirror } from "./mirror.ts";
import { canonical, templateHash } from "./names.ts";
import { controllerUid, keepTransitions, ownedBy } from "./pods.ts";
import { rollingStep, rolloutLimits } from "./rollout.ts";

const HASH_LABEL = "pod-template-hash";
const REVISION = "deployment.kubernetes.io/revision";

/** Deployments → ReplicaSets, and what `kubectl rollout status` and `kubectl wait` look at. */
export async function runDeployments(
  client: KubeClient,
  deployments: Mirror<Deployment>,
  replicaSets: Mirror<ReplicaSet>,
  kit: WorkloadsKit,
): Promise<void> {
  const setsOf = (deployment: Deployment): ReplicaSet[] =>
    [...replicaSets.in(deployment.metadata.namespace ?? "")].filter(
      (set) => controllerUid(set) === deployment.metadata.uid && set.metadata.deletionTimestamp === undefined,
    );

  const reconciler = new Reconciler({
    name: "deployment",
    kit,
    workers: 8,
    async reconcile(key, signal) {
      const [namespace = "", name = ""] = key.split("/");
      const deployment = deployments.get(namespace, name);
      if (deployment === undefined || deployment.metadata.deletionTimestamp !== undefined) return;
      const hash = templateHash(deployment.spec.template);
      const isCurrent = (set: ReplicaSet) => set.metadata.labels?.[HASH_LABEL] === hash;
      const paused = deployment.spec.paused === true;
      let current = setsOf(deployment).find(isCurrent);
      if (current === undefined && !paused) current = await addSet(deployment, hash, signal);
      else if (current !== undefined) current = await markNewest(deployment, current, signal);
      const old = setsOf(deployment)
        .filter((set) => !isCurrent(set))
        .toSorted(byAge);
      if (current !== undefined) await step(deployment, current, old, signal);
      await forget(deployment, old, signal);
      await report(deployment, hash, signal);
    },
  });

  async function step(
    deployment: Deployment,
    current: ReplicaSet,
    old: readonly ReplicaSet[],
    signal: AbortSignal,
  ): Promise<void> {
    const desired = deployment.spec.replicas ?? 1;
    const { strategy } = deployment.spec;
    const sizes = new Map<string, number>();
    if (strategy?.type === "Recreate") {
      for (const set of old) sizes.set(set.metadata.name, 0);
      const ended = old.every((set) => (set.status?.replicas ?? 0) === 0 && (set.spec.replicas ?? 0) === 0);
      if (ended) sizes.set(current.metadata.name, desired);
    } else {
      const { maxSurge, maxUnavailable } = strategy?.rollingUpdate ?? {};
      const limits = rolloutLimits(desired, maxSurge, maxUnavailable);
      for (const [name, size] of rollingStep(sizeOf(current), old.map(sizeOf), limits)) sizes.set(name, size);
    }
    for (const set of [current, ...old]) {
      const size = sizes.get(set.metadata.name);
      if (size !== undefined && size !== (set.spec.replicas ?? 0)) await resize(set, size, signal);
    }
  }

  async function addSet(deployment: Deployment, hash: string, signal: AbortSignal): Promise<ReplicaSet> {
    const { namespace = "", name } = deployment.metadata;
    const { template, selector } = deployment.spec;
    const labels = { ...template.metadata?.labels, [HASH_LABEL]: hash };
    const set: ReplicaSet = {
      apiVersion: "apps/v1",
      kind: "ReplicaSet",
      metadata: {
        name: `${name}-${hash}`,
        namespace,
        labels,
        annotations: { [REVISION]: String(nextRevision(deployment)) },
        ownerReferences: ownedBy(deployment),
      },
      spec: {
        replicas: 0,
        selector: { ...selector, matchLabels: { ...selector.matchLabels, [HASH_LABEL]: hash } },
        template: { ...template, metadata: { ...template.metadata, labels } },
      },
    };
    // Its first size at once, when there is nothing to replace: one request less on the way to a running pod.
    const first = setsOf(deployment).length === 0;
    const sized = first ? { ...set, spec: { ...set.spec, replicas: deployment.spec.replicas ?? 1 } } : set;
    const made = await client.create(resources.replicaSet, sized, signal);
    await replicaSets.until(
      namespace,
      made.metadata.name,
      (seen) => seen?.metadata.uid === made.metadata.uid,
    );
    return made;
  }

  /** A rollback makes an older set the newest revision. */
  async function markNewest(
    deployment: Deployment,
    set: ReplicaSet,
    signal: AbortSignal,
  ): Promise<ReplicaSet> {
    const others = setsOf(deployment).filter((other) => other.metadata.uid !== set.metadata.uid);
    if (others.every((other) => revisionOf(other) < revisionOf(set))) return set;
    const { namespace, name } = set.metadata;
    const annotations = { [REVISION]: String(nextRevision(deployment)) };
    return await client.mergePatch(
      resources.replicaSet,
      { namespace, name },
      { metadata: { annotations } },
      {},
      signal,
    );
  }

  function nextRevision(deployment: Deployment): number {
    return Math.max(0, ...setsOf(deployment).map(revisionOf)) + 1;
  }

  async function resize(set: ReplicaSet, replicas: number, signal: AbortSignal): Promise<void> {
    const { namespace = "", name } = set.metadata;
    await client.mergePatch(resources.replicaSet, { namespace, name }, { spec: { replicas } }, {}, signal);
    await replicaSets.until(namespace, name, (seen) => (seen?.spec.replicas ?? 0) === replicas);
  }

  /** Deletes what is beyond revisionHistoryLimit. */
  async function forget(
    deployment: Deployment,
    old: readonly ReplicaSet[],
    signal: AbortSignal,
  ): Promise<void> {
    const idle = old.filter((set) => (set.spec.replicas ?? 0) === 0 && (set.status?.replicas ?? 0) === 0);
    const surplus = idle.length - (deployment.spec.revisionHistoryLimit ?? 10);
    for (const set of idle.toSorted((a, b) => revisionOf(a) - revisionOf(b)).slice(0, Math.max(0, surplus))) {
      const { namespace = "", name, uid = "" } = set.metadata;
      await client.delete(resources.replicaSet, { namespace, name }, { preconditions: { uid } }, signal);
      await replicaSets.until(namespace, name, (seen) => seen === undefined);
    }
  }

  async function report(seen: Deployment, hash: string, signal: AbortSignal): Promise<void> {
    const { namespace = "", name } = seen.metadata;
    const deployment = deployments.get(namespace, name);
    if (deployment === undefined || deployment.metadata.uid !== seen.metadata.uid) return;
    const status = statusOf(seen, setsOf(seen), hash, deployment.status);
    const old = deployment.status ?? {};
    const same =
      canonical({ ...old, conditions: undefined }) ===
        canonical({ ...withoutZeros(status), conditions: undefined }) &&
      canonical(old.conditions ?? []) === canonical(status.conditions);
    if (same) return;
    const body = Object.fromEntries(
      Object.entries(status).map(([key, value]) => [key, value === 0 ? null : value]),
    );
    await client.mergePatch(
      resources.deployment,
      { namespace, name },
      { status: body },
      { subresource: "status" },
      signal,
    );
  }

  deployments.onChange((change) => reconciler.add(change.key));
  replicaSets.onChange((change) => {
    const set = change.kind === "delete" ? change.old : change.object;
    const owner = set.metadata.ownerReferences?.find((o) => o.controller === true && o.kind === "Deployment");
    if (owner !== undefined) reconciler.add(`${set.metadata.namespace}/${owner.name}`);
  });
  for (const deployment of deployments.all()) reconciler.add(objectKey(deployment));
  await reconciler.run();
}

/** The status that Kubernetes' controller would write. */
function statusOf(
  deployment: Deployment,
  sets: readonly ReplicaSet[],
  hash: string,
  old: Deployment["status"],
) {
  const count = (of: readonly ReplicaSet[], field: "replicas" | "readyReplicas" | "availableReplicas") =>
    of.reduce((total, set) => total + (set.status?.[field] ?? 0), 0);
  const current = sets.filter((set) => set.metadata.labels?.[HASH_LABEL] === hash);
  const desired = deployment.spec.replicas ?? 1;
  const { maxSurge, maxUnavailable } = deployment.spec.strategy?.rollingUpdate ?? {};
  const limits = rolloutLimits(desired, maxSurge, maxUnavailable);
  const mayMiss = deployment.spec.strategy?.type === "Recreate" ? 0 : limits.maxUnavailable;
  const replicas = count(sets, "replicas");
  const available = count(sets, "availableReplicas");
  const updated = count(current, "replicas");
  const enough = available >= desired - Math.min(desired, mayMiss);
  const complete =
    updated === desired && replicas === desired && available === desired && current.every(isObserved);
  const setName = current[0]?.metadata.name ?? `${deployment.metadata.name}-${hash}`;
  const now = kubeTime(systemClock);
  const conditions: Condition[] = [
    {
      type: "Available",
      status: enough ? "True" : "False",
      reason: enough ? "MinimumReplicasAvailable" : "MinimumReplicasUnavailable",
      message: enough
        ? "Deployment has minimum availability."
        : "Deployment does not have minimum availability.",
      lastUpdateTime: now,
      lastTransitionTime: now,
    },
    {
      type: "Progressing",
      status: "True",
      reason: complete ? "NewReplicaSetAvailable" : "ReplicaSetUpdated",
      message: complete
        ? `ReplicaSet "${setName}" has successfully progressed.`
        : `ReplicaSet "${setName}" is progressing.`,
      lastUpdateTime: now,
      lastTransitionTime: now,
    },
  ];
  return {
    observedGeneration: deployment.metadata.generation ?? 0,
    replicas,
    updatedReplicas: updated,
    readyReplicas: count(sets, "readyReplicas"),
    availableReplicas: available,
    unavailableReplicas: Math.max(0, Math.max(desired, replicas) - available),
    conditions: keepTransitions(old?.conditions, conditions),
  };
}

function withoutZeros(status: object): object {
  return Object.fromEntries(Object.entries(status).filter(([, value]) => value !== 0));
}

function sizeOf(set: ReplicaSet) {
  return {
    name: set.metadata.name,
    wanted: set.spec.replicas ?? 0,
    available: set.status?.availableReplicas ?? 0,
  };
}

function isObserved(set: ReplicaSet): boolean {
  return (set.status?.observedGeneration ?? 0) >= (set.metadata.generation ?? 0);
}

function revisionOf(set: ReplicaSet): number {
  return Number(set.metadata.annotations?.[REVISION] ?? 0);
}

function byAge(a: ReplicaSet, b: ReplicaSet): number {
  const age = (a.metadata.creationTimestamp ?? "").localeCompare(b.metadata.creationTimestamp ?? "");
  return age !== 0 ? age : a.metadata.name.localeCompare(b.metadata.name);
}
