import type { KubeObject } from "../json.ts";
import { storageKey } from "../kinds/resource-type.ts";
import { deleteObject, plainDelete } from "../registry/deletion.ts";
import type { World } from "../registry/world.ts";
import type { StoreEvent } from "../store/object-store.ts";

export const FIRST_NAMESPACES = ["default", "kube-node-lease", "kube-public", "kube-system"];

/** Empties a namespace that is being deleted, then removes it. */
export function watchNamespaces(world: World): () => void {
  return world.store.observe((resource, event) => {
    if (resource === "namespaces") {
      if (event.type !== "DELETED" && event.object.metadata.deletionTimestamp !== undefined)
        empty(world, event.object);
    } else if (event.type === "DELETED") {
      finishIfEmpty(world, event);
    }
  });
}

function empty(world: World, home: KubeObject): void {
  const name = home.metadata.name ?? "";
  for (const { type, objects } of contents(world, name)) {
    for (const object of objects) {
      if (object.metadata.deletionTimestamp === undefined) deleteObject(world, type, object, plainDelete);
    }
  }
  finish(world, name);
}

function finishIfEmpty(world: World, { object }: StoreEvent): void {
  const name = object.metadata.namespace;
  if (name !== undefined) finish(world, name);
}

function finish(world: World, name: string): void {
  const home = world.store.get("namespaces", "", name);
  if (home?.metadata.deletionTimestamp === undefined) return;
  if (contents(world, name).some(({ objects }) => objects.length > 0)) return;
  // A namespace's own finalizers, if somebody gave it some, hold it as they hold any object.
  if ((home.metadata.finalizers?.length ?? 0) > 0) return;
  world.store.remove("namespaces", home);
}

function contents(world: World, namespace: string) {
  return world.catalog
    .all()
    .filter((type) => type.namespaced && type.view === undefined)
    .map((type) => ({ type, objects: world.store.list(storageKey(type), namespace) }));
}
