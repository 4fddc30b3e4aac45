import type { Condition, KubeObject, Pod } from "@sluice/kube";

/** Wants to run: neither ended nor on its way out. */
export function isActive(pod: Pod): boolean {
  return pod.metadata.deletionTimestamp === undefined && !hasEnded(pod);
}

export function hasEnded(pod: Pod): boolean {
  return pod.status?.phase === "Succeeded" || pod.status?.phase === "Failed";
}

export function isReady(pod: Pod): boolean {
  return pod.status?.conditions?.some((c) => c.type === "Ready" && c.status === "True") ?? false;
}

/** The uid of the object that controls this one. */
export function controllerUid(object: KubeObject): string | undefined {
  return object.metadata.ownerReferences?.find((owner) => owner.controller === true)?.uid;
}

export function ownedBy(owner: KubeObject) {
  return [
    {
      apiVersion: owner.apiVersion,
      kind: owner.kind,
      name: owner.metadata.name,
      uid: owner.metadata.uid ?? "",
      controller: true,
      blockOwnerDeletion: true,
    },
  ];
}

/** `next` with the transition times of `old` where the status stayed the same. */
export function keepTransitions(
  old: readonly Condition[] | undefined,
  next: readonly Condition[],
): Condition[] {
  return next.map((condition) => {
    const before = old?.find((c) => c.type === condition.type);
    if (before === undefined || before.status !== condition.status) return condition;
    const unchanged = before.reason === condition.reason && before.message === condition.message;
    const { lastTransitionTime, lastUpdateTime } = before;
    return {
      ...condition,
      ...(lastTransitionTime === undefined ? {} : { lastTransitionTime }),
      ...(unchanged && lastUpdateTime !== undefined ? { lastUpdateTime } : {}),
    };
  });
}
