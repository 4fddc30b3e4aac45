import { kubeTime } from "../clock.ts";
import {
  arrayAt,
  equalJson,
  type Json,
  type JsonObject,
  type KubeObject,
  objectAt,
  textAt,
} from "../json.ts";
import { crdKind, customType } from "../kinds/crd.ts";
import { resourceKey } from "../kinds/resource-type.ts";
import { deleteObject, plainDelete } from "../registry/deletion.ts";
import type { World } from "../registry/world.ts";

const CRDS = resourceKey(crdKind);
const CLEANUP = "customresourcecleanup.apiextensions.k8s.io";

/** Serves what CustomResourceDefinitions describe, says so in their status, and cleans up when one is deleted. */
export function watchDefinitions(world: World): () => void {
  return world.store.observe((resource, event) => {
    if (resource === CRDS) {
      if (event.type === "DELETED") withdraw(world, event.object);
      else {
        // The event may be older than the definition: an earlier one may have led to a write.
        const live = world.store.get(CRDS, "", event.object.metadata.name ?? "");
        if (live === undefined) return;
        if (live.metadata.deletionTimestamp !== undefined) clean(world, live);
        else serve(world, live, event.previous);
      }
    } else if (event.type === "DELETED") {
      const owner = world.store.get(CRDS, "", resource);
      if (owner?.metadata.deletionTimestamp !== undefined) finish(world, owner);
    }
  });
}

function serve(world: World, crd: KubeObject, previous: KubeObject | undefined): void {
  const type = customType(crd);
  const key = crd.metadata.name ?? "";
  const taken = type !== undefined && clashes(world, key, type.group, type.kind);
  if (type === undefined || taken) world.catalog.remove(key);
  else if (world.catalog.get(key) === undefined || !equalJson(previous?.spec, crd.spec))
    world.catalog.add(type);
  const next = withStatus(world, crd, taken);
  if (!equalJson(next, crd)) world.store.put(CRDS, next);
}

/** Another resource of the group that has this kind already keeps it. */
function clashes(world: World, key: string, group: string, kind: string): boolean {
  const other = world.catalog.findKind(group, kind);
  return other !== undefined && resourceKey(other) !== key;
}

function withStatus(world: World, crd: KubeObject, taken: boolean): KubeObject {
  const spec = objectAt(crd, "spec");
  const status = objectAt(crd, "status");
  const storage = arrayAt(spec, "versions").find((v) => objectAt({ v }, "v").storage === true);
  const versions = new Set([...arrayAt(status, "storedVersions").map(String), textAt(storage, "name")]);
  const kind = textAt(objectAt(spec, "names"), "kind");
  const accepted = taken
    ? { status: "False", reason: "KindConflict", message: `"${kind}" is already in use` }
    : { status: "True", reason: "NoConflicts", message: "no conflicts found" };
  const established = taken
    ? { status: "False", reason: "NotAccepted", message: "not all names are accepted" }
    : { status: "True", reason: "InitialNamesAccepted", message: "the initial names have been accepted" };
  const known = arrayAt(status, "conditions");
  const now = kubeTime(world.clock);
  const conditions = [
    condition(known, "NamesAccepted", accepted, now),
    condition(known, "Established", established, now),
  ];
  const finalizers = new Set(crd.metadata.finalizers ?? []).add(CLEANUP);
  return {
    ...crd,
    metadata: { ...crd.metadata, finalizers: [...finalizers] },
    status: {
      ...status,
      conditions,
      acceptedNames: taken ? { plural: "", kind: "" } : (spec.names ?? {}),
      storedVersions: [...versions],
    },
  };
}

function condition(known: Json[], type: string, state: JsonObject, now: string): JsonObject {
  const old = known.find((entry) => textAt(entry, "type") === type);
  const unchanged = textAt(old, "status") === state.status;
  return { lastTransitionTime: unchanged ? textAt(old, "lastTransitionTime") : now, ...state, type };
}

/** Deletes the instances; the definition stays, marked, until the last of them is gone. */
function clean(world: World, crd: KubeObject): void {
  const type = world.catalog.get(crd.metadata.name ?? "");
  if (type !== undefined) {
    for (const object of world.store.list(resourceKey(type))) {
      if (object.metadata.deletionTimestamp === undefined) deleteObject(world, type, object, plainDelete);
    }
  }
  finish(world, crd);
}

function finish(world: World, crd: KubeObject): void {
  const key = crd.metadata.name ?? "";
  const live = world.store.get(CRDS, "", key);
  if (live?.metadata.deletionTimestamp === undefined || world.store.list(key).length > 0) return;
  const finalizers = (live.metadata.finalizers ?? []).filter((finalizer) => finalizer !== CLEANUP);
  const { finalizers: _held, ...metadata } = live.metadata;
  if (finalizers.length === 0) world.store.remove(CRDS, { ...live, metadata });
  else if (finalizers.length !== live.metadata.finalizers?.length) {
    world.store.put(CRDS, { ...live, metadata: { ...metadata, finalizers } });
  }
}

function withdraw(world: World, crd: KubeObject): void {
  const key = crd.metadata.name ?? "";
  world.catalog.remove(key);
  world.store.drop(key);
}
