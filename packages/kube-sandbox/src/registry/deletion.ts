import { kubeTime } from "../clock.ts";
import { type JsonObject, type KubeObject, objectAt, textAt } from "../json.ts";
import type { ServedType } from "../kinds/catalog.ts";
import { type ResourceType, resourceSubject, storageKey } from "../kinds/resource-type.ts";
import { conflict } from "../status.ts";
import type { World } from "./world.ts";

export type Propagation = "Background" | "Foreground" | "Orphan";

export interface DeleteOptions {
  /** Seconds a pod gets; undefined means what the pod says. */
  gracePeriodSeconds: number | undefined;
  propagation: Propagation;
  preconditions: { uid?: string; resourceVersion?: string };
  dryRun: boolean;
}

export const plainDelete: DeleteOptions = {
  gracePeriodSeconds: undefined,
  propagation: "Background",
  preconditions: {},
  dryRun: false,
};

export interface Deleted {
  object: KubeObject;
  /** False while finalizers or a grace period keep it. */
  gone: boolean;
}

/** Deletes by kube-apiserver's rules: finalizers and a pod's grace period leave the object there, marked. */
export function deleteObject(
  world: World,
  type: ResourceType,
  live: KubeObject,
  options: DeleteOptions,
): Deleted {
  const { store, clock } = world;
  const { metadata } = live;
  const { uid, resourceVersion } = options.preconditions;
  if (uid !== undefined && uid !== metadata.uid) {
    const why = `Precondition failed: UID in precondition: ${uid}, UID in object meta: ${metadata.uid ?? ""}`;
    throw conflict(resourceSubject(type), metadata.name ?? "", why);
  }
  if (resourceVersion !== undefined && resourceVersion !== metadata.resourceVersion) {
    const why = `Precondition failed: ResourceVersion in precondition: ${resourceVersion}, ResourceVersion in object meta: ${metadata.resourceVersion ?? ""}`;
    throw conflict(resourceSubject(type), metadata.name ?? "", why);
  }
  const finalizers = new Set(metadata.finalizers ?? []);
  finalizers.delete("orphan");
  finalizers.delete("foregroundDeletion");
  if (options.propagation === "Orphan") finalizers.add("orphan");
  if (options.propagation === "Foreground") finalizers.add("foregroundDeletion");
  const grace = gracePeriod(live, options.gracePeriodSeconds);
  const held = finalizers.size > 0 || grace > 0 || isNamespace(type);
  const key = storageKey(type);
  if (!held) {
    if (!options.dryRun) return { object: store.remove(key, live), gone: true };
    return { object: live, gone: true };
  }
  const already = metadata.deletionTimestamp !== undefined;
  const sooner = already && grace < (metadata.deletionGracePeriodSeconds ?? 0);
  if (already && !sooner) return { object: live, gone: false };
  const marked: KubeObject = {
    ...live,
    metadata: {
      ...metadata,
      ...(finalizers.size > 0 ? { finalizers: [...finalizers] } : {}),
      deletionTimestamp: kubeTime({ now: () => new Date(clock.now().getTime() + grace * 1000) }),
      deletionGracePeriodSeconds: grace,
    },
  };
  if (isNamespace(type)) marked.status = { ...objectAt(marked, "status"), phase: "Terminating" };
  if (metadata.generation !== undefined) marked.metadata.generation = metadata.generation + 1;
  return { object: options.dryRun ? marked : store.put(key, marked), gone: false };
}

function isNamespace(type: ResourceType): boolean {
  return type.group === "" && type.plural === "namespaces";
}

/** Pods that a node runs end gracefully; one that was never bound, or has ended, goes at once. */
function gracePeriod(live: KubeObject, asked: number | undefined): number {
  if (live.kind !== "Pod" || live.apiVersion !== "v1") return 0;
  if (textAt(objectAt(live, "spec"), "nodeName") === "") return 0;
  const phase = textAt(objectAt(live, "status"), "phase");
  if (phase === "Succeeded" || phase === "Failed") return 0;
  const own = objectAt(live, "spec").terminationGracePeriodSeconds;
  return Math.max(0, asked ?? (typeof own === "number" ? own : 30));
}

/** The Status or object that answers a DELETE. */
export function deletionAnswer({ type }: ServedType, { object, gone }: Deleted): JsonObject {
  if (!gone || type.returnsDeleted) return object as unknown as JsonObject;
  const { name, uid } = object.metadata;
  return {
    kind: "Status",
    apiVersion: "v1",
    metadata: {},
    status: "Success",
    details: { name, ...(type.group === "" ? {} : { group: type.group }), kind: type.plural, uid },
  };
}
