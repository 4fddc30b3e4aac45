import type { KubeObject, OwnerReference } from "../json.ts";
import { storageKey } from "../kinds/resource-type.ts";
import { deleteObject, plainDelete } from "../registry/deletion.ts";
import { isFinished } from "../registry/registry.ts";
import type { World } from "../registry/world.ts";

interface Dependent {
  resource: string;
  namespace: string;
  name: string;
}

/** Deletes what lost its last owner, and ends foreground and orphaning deletions. */
export function watchOwners(world: World): () => void {
  /** Owner uid → its dependents by resource/namespace/name. */
  const dependents = new Map<string, Map<string, Dependent>>();
  const { store } = world;

  const keyOf = (resource: string, { metadata }: KubeObject) =>
    `${resource}/${metadata.namespace ?? ""}/${metadata.name ?? ""}`;

  function index(resource: string, before: KubeObject | undefined, after: KubeObject | undefined): void {
    for (const { uid } of before?.metadata.ownerReferences ?? []) {
      const known = dependents.get(uid);
      if (before !== undefined) known?.delete(keyOf(resource, before));
      if (known?.size === 0) dependents.delete(uid);
    }
    if (after === undefined) return;
    for (const { uid } of after.metadata.ownerReferences ?? []) {
      const known = dependents.get(uid) ?? new Map<string, Dependent>();
      const { namespace = "", name = "" } = after.metadata;
      known.set(keyOf(resource, after), { resource, namespace, name });
      dependents.set(uid, known);
    }
  }

  function dependentsOf(uid: string): { resource: string; object: KubeObject }[] {
    return [...(dependents.get(uid)?.values() ?? [])].flatMap(({ resource, namespace, name }) => {
      const object = store.get(resource, namespace, name);
      return object === undefined ? [] : [{ resource, object }];
    });
  }

  function release(resource: string, object: KubeObject, uid: string): KubeObject {
    const rest = (object.metadata.ownerReferences ?? []).filter((owner) => owner.uid !== uid);
    const { ownerReferences: _owners, ...metadata } = object.metadata;
    return store.put(resource, {
      ...object,
      metadata: rest.length === 0 ? metadata : { ...metadata, ownerReferences: rest },
    });
  }

  function collect(uid: string): void {
    for (const { resource, object } of dependentsOf(uid)) {
      if ((object.metadata.ownerReferences ?? []).length > 1) release(resource, object, uid);
      else remove(resource, object);
    }
  }

  function remove(resource: string, object: KubeObject): void {
    const type = world.catalog.get(resource);
    if (type === undefined || object.metadata.deletionTimestamp !== undefined) return;
    deleteObject(world, type, object, plainDelete);
  }

  function withoutFinalizer(resource: string, object: KubeObject, finalizer: string): void {
    const rest = (object.metadata.finalizers ?? []).filter((name) => name !== finalizer);
    const { finalizers: _held, ...metadata } = object.metadata;
    const next = { ...object, metadata: rest.length === 0 ? metadata : { ...metadata, finalizers: rest } };
    if (isFinished(next)) store.remove(resource, next);
    else store.put(resource, next);
  }

  function progress(resource: string, object: KubeObject): void {
    const { uid = "", finalizers = [] } = object.metadata;
    if (finalizers.includes("orphan")) {
      for (const dependent of dependentsOf(uid)) release(dependent.resource, dependent.object, uid);
      withoutFinalizer(resource, object, "orphan");
    } else if (finalizers.includes("foregroundDeletion")) {
      for (const dependent of dependentsOf(uid)) remove(dependent.resource, dependent.object);
      const blocking = dependentsOf(uid).some(({ object: held }) =>
        held.metadata.ownerReferences?.some(
          (owner) => owner.uid === uid && owner.blockOwnerDeletion === true,
        ),
      );
      const live = store.get(resource, object.metadata.namespace ?? "", object.metadata.name ?? "");
      if (!blocking && live?.metadata.finalizers?.includes("foregroundDeletion")) {
        withoutFinalizer(resource, live, "foregroundDeletion");
      }
    }
  }

  function findOwner(
    reference: OwnerReference,
    namespace: string,
  ): { resource: string; owner: KubeObject } | undefined {
    const { apiVersion, kind, name, uid } = reference;
    const type = world.catalog.findKind(
      apiVersion.includes("/") ? (apiVersion.split("/")[0] ?? "") : "",
      kind,
    );
    if (type === undefined) return undefined;
    const owner = store.get(storageKey(type), type.namespaced ? namespace : "", name);
    return owner?.metadata.uid === uid ? { resource: storageKey(type), owner } : undefined;
  }

  /** Made for owners that were gone by then, as a controller does that has not heard of it yet. */
  function isOrphaned({ metadata }: KubeObject): boolean {
    const owners = metadata.ownerReferences ?? [];
    return (
      owners.length > 0 && owners.every((owner) => findOwner(owner, metadata.namespace ?? "") === undefined)
    );
  }

  /** The owners of a removed object may have waited for it. */
  function wakeOwners({ metadata }: KubeObject): void {
    for (const reference of metadata.ownerReferences ?? []) {
      const found = findOwner(reference, metadata.namespace ?? "");
      if (found?.owner.metadata.deletionTimestamp !== undefined) progress(found.resource, found.owner);
    }
  }

  return store.observe((resource, { type, object, previous }) => {
    index(resource, previous, type === "DELETED" ? undefined : object);
    if (type === "DELETED") {
      if (object.metadata.uid !== undefined) collect(object.metadata.uid);
      wakeOwners(object);
      return;
    }
    // The event may be older than the object: an earlier one may have led to a write.
    const live = store.get(resource, object.metadata.namespace ?? "", object.metadata.name ?? "");
    if (live === undefined) return;
    if (live.metadata.deletionTimestamp !== undefined) progress(resource, live);
    else if (type === "ADDED" && isOrphaned(live)) remove(resource, live);
  });
}
