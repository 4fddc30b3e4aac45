import { randomUUID } from "node:crypto";
import { applyConfig, type Manager, ownersAfterUpdate, withMetadata } from "../apply/managed-fields.ts";
import { misfit } from "../apply/typed-value.ts";
import { kubeTime } from "../clock.ts";
import {
  asJson,
  asKube,
  copyJson,
  equalJson,
  isObject,
  type Json,
  type JsonObject,
  type KubeObject,
} from "../json.ts";
import type { ServedType } from "../kinds/catalog.ts";
import { checkLabels, checkName, generatedName } from "../kinds/names.ts";
import { apiVersionOf, kindSubject, resourceSubject, storageKey } from "../kinds/resource-type.ts";
import { applyJsonPatch } from "../patch/json-patch.ts";
import { applyMergePatch } from "../patch/merge-patch.ts";
import { applyStrategicPatch } from "../patch/strategic-merge-patch.ts";
import { validateValues } from "../schema/value-validation.ts";
import {
  ApiError,
  alreadyExists,
  badRequest,
  conflict,
  type FieldError,
  forbidden,
  invalid,
  invalidValue,
  notFound,
  requiredValue,
  unsupportedMediaType,
} from "../status.ts";
import { decodeObject } from "./decode.ts";
import { readScale, writeScale } from "./scale.ts";
import { toServed, toStored } from "./versions.ts";
import type { Subresource, World, WriteOptions } from "./world.ts";

export type PatchKind = "json" | "merge" | "strategic" | "apply";

export interface Written {
  object: KubeObject;
  created: boolean;
}

/** Creates, changes and reads objects by the rules of kube-apiserver. Everything is synchronous: a write is atomic. */
export class Registry {
  readonly #world: World;

  constructor(world: World) {
    this.#world = world;
  }

  /** The stored state, or 404. */
  stored({ type }: ServedType, namespace: string, name: string): KubeObject {
    const object = this.#world.store.get(storageKey(type), namespace, name);
    if (object === undefined) throw notFound(resourceSubject(type), name);
    return object;
  }

  get(served: ServedType, namespace: string, name: string, subresource: Subresource = ""): KubeObject {
    const object = toServed(this.stored(served, namespace, name), served);
    return subresource === "scale" ? readScale(object, served) : object;
  }

  create(served: ServedType, namespace: string, body: JsonObject, options: WriteOptions): KubeObject {
    const object = decodeObject(body, served, options, "body");
    return this.#insert(served, namespace, object, options, "Update");
  }

  update(
    served: ServedType,
    namespace: string,
    name: string,
    body: JsonObject,
    subresource: Subresource,
    options: WriteOptions,
  ): Written {
    if (subresource === "scale") {
      const live = this.get(served, namespace, name);
      return this.#replace(served, live, writeScale(live, body, served), subresource, options, undefined);
    }
    const next = decodeObject(body, served, options, "body");
    if (next.metadata.name === undefined && subresource === "") next.metadata.name = "";
    this.#checkUrl(next, namespace, name);
    const stored = this.#world.store.get(storageKey(served.type), namespace, name);
    if (stored === undefined) {
      if (!served.type.createOnUpdate) throw notFound(resourceSubject(served.type), name);
      return { object: this.#insert(served, namespace, next, options, "Update"), created: true };
    }
    const live = toServed(stored, served);
    const version = next.metadata.resourceVersion ?? "";
    if (version === "" && served.type.custom) {
      const error = invalidValue("metadata.resourceVersion", 0, "must be specified for an update");
      throw invalid(kindSubject(served.type), name, [
        { ...error, message: error.message.replace(": 0:", ": 0x0:") },
      ]);
    }
    return this.#replace(served, live, next, subresource, options, undefined);
  }

  patch(
    served: ServedType,
    namespace: string,
    name: string,
    kind: PatchKind,
    patch: Json,
    subresource: Subresource,
    options: WriteOptions,
  ): Written {
    const stored = this.#world.store.get(storageKey(served.type), namespace, name);
    if (kind === "apply") return this.#apply(served, namespace, name, stored, patch, subresource, options);
    if (stored === undefined) throw notFound(resourceSubject(served.type), name);
    const live = toServed(stored, served);
    const shown = subresource === "scale" ? readScale(live, served) : live;
    const patched = this.#patched(served, asJson(shown), kind, patch);
    if (subresource === "scale") {
      return this.#replace(served, live, writeScale(live, patched, served), subresource, options, undefined);
    }
    const next = decodeObject(patched, served, options, "patch");
    this.#checkUrl(next, namespace, name);
    return this.#replace(served, live, next, subresource, options, undefined);
  }

  #patched(served: ServedType, document: JsonObject, kind: PatchKind, patch: Json): JsonObject {
    if (kind === "json") return applyJsonPatch(document, patch);
    if (!isObject(patch))
      throw badRequest("json: cannot unmarshal into Go value of type map[string]interface {}");
    if (kind === "merge") {
      const merged = applyMergePatch(document, patch);
      return isObject(merged) ? merged : {};
    }
    if (served.type.custom) {
      throw unsupportedMediaType([
        "application/json-patch+json",
        "application/merge-patch+json",
        "application/apply-patch+yaml",
      ]);
    }
    return applyStrategicPatch(document, patch, withMetadata(served.version.schema));
  }

  #apply(
    served: ServedType,
    namespace: string,
    name: string,
    stored: KubeObject | undefined,
    patch: Json,
    subresource: Subresource,
    options: WriteOptions,
  ): Written {
    const { type, version } = served;
    if (options.manager === "") {
      const error = requiredValue("fieldManager", "is required for apply patch");
      throw invalid({ group: "meta.k8s.io", name: "PatchOptions" }, "", [error]);
    }
    if (!isObject(patch)) throw badRequest("error decoding YAML: an object is expected");
    if (patch.apiVersion === undefined || patch.kind === undefined) {
      throw badRequest("apiVersion and kind must be set in an apply patch");
    }
    const apiVersion = apiVersionOf(type.group, version.name);
    const schema = withMetadata(version.schema);
    const { apiVersion: _v, kind: _k, ...fields } = patch;
    const wrong = misfit(fields, schema);
    if (wrong !== undefined) {
      const gvk = `${apiVersion.includes("/") ? apiVersion : `/${apiVersion}`}, Kind=${type.kind}`;
      const at = namespace === "" ? `/${name}` : `${namespace}/${name}`;
      throw new ApiError(500, "", `failed to create typed patch object (${at}; ${gvk}): ${wrong}`);
    }
    const config = asKube({ ...copyJson(patch), metadata: isObject(patch.metadata) ? patch.metadata : {} });
    config.metadata = { ...config.metadata, name: config.metadata.name ?? name };
    this.#checkUrl(config, namespace, name);
    if (stored === undefined && subresource !== "") throw notFound(resourceSubject(type), name);
    const blank: KubeObject = {
      apiVersion,
      kind: type.kind,
      metadata: { name, ...(type.namespaced ? { namespace } : {}) },
    };
    const live = stored === undefined ? blank : toServed(stored, served);
    const version0 = config.metadata.resourceVersion;
    if (version0 !== undefined && version0 !== live.metadata.resourceVersion)
      throw conflict(resourceSubject(type), name);
    const manager: Manager = { name: options.manager, operation: "Apply", apiVersion, subresource };
    const applied = applyConfig(live, config, version.schema, manager, {
      force: options.force,
      now: kubeTime(this.#world.clock),
    });
    const next = decodeObject(asJson(applied.object), served, options, "apply");
    next.metadata.managedFields = applied.managedFields;
    if (stored === undefined) {
      return { object: this.#insert(served, namespace, next, options, "Apply"), created: true };
    }
    return this.#replace(served, live, next, subresource, options, applied.managedFields);
  }

  #checkUrl(object: KubeObject, namespace: string, name: string): void {
    const own = object.metadata;
    if (own.name !== undefined && own.name !== name) {
      throw badRequest(`the name of the object (${own.name}) does not match the name on the URL (${name})`);
    }
    own.name = name;
    this.#checkNamespace(object, namespace);
  }

  #checkNamespace({ metadata }: KubeObject, namespace: string): void {
    if (namespace === "") {
      delete metadata.namespace;
      return;
    }
    if (metadata.namespace !== undefined && metadata.namespace !== "" && metadata.namespace !== namespace) {
      throw badRequest(
        "the namespace of the provided object does not match the namespace sent on the request",
      );
    }
    metadata.namespace = namespace;
  }

  #insert(
    served: ServedType,
    namespace: string,
    object: KubeObject,
    options: WriteOptions,
    operation: "Apply" | "Update",
  ): KubeObject {
    const { type, version } = served;
    const { store, clock } = this.#world;
    const { metadata } = object;
    this.#checkNamespace(object, namespace);
    if (metadata.resourceVersion !== undefined && metadata.resourceVersion !== "") {
      throw badRequest("resourceVersion should not be set on objects to be created");
    }
    const prefix = metadata.generateName ?? "";
    const given = metadata.name ?? "";
    if (given === "" && prefix !== "") metadata.name = generatedName(prefix);
    const name = metadata.name ?? "";
    if (type.namespaced) this.#checkNamespaceIsOpen(served, namespace, name);
    const key = storageKey(type);
    if (name !== "" && store.get(key, namespace, name) !== undefined)
      throw alreadyExists(resourceSubject(type), name);

    for (const field of [
      "selfLink",
      "deletionTimestamp",
      "deletionGracePeriodSeconds",
      "resourceVersion",
    ] as const) {
      delete (metadata as JsonObject)[field];
    }
    metadata.uid = randomUUID();
    metadata.creationTimestamp = kubeTime(clock);
    if (type.generation === "none") delete metadata.generation;
    else metadata.generation = 1;
    if (version.status) delete object.status;
    type.strategy.prepare?.(object, undefined);
    this.#validate(served, object, undefined);
    if (operation === "Update") {
      const manager = this.#updater(served, options, "");
      const owners = ownersAfterUpdate(undefined, object, version.schema, manager, kubeTime(clock));
      setOwners(object, owners);
    }
    const tidy = tidied(object);
    if (options.dryRun) return tidy;
    return toServed(store.put(key, toStored(tidy, served)), served);
  }

  #checkNamespaceIsOpen({ type }: ServedType, namespace: string, name: string): void {
    const home = this.#world.store.get("namespaces", "", namespace);
    if (home === undefined) throw notFound({ group: "", name: "namespaces" }, namespace);
    if (home.metadata.deletionTimestamp !== undefined) {
      const why = `unable to create new content in namespace ${namespace} because it is being terminated`;
      const message = `namespace ${namespace} is being terminated`;
      const cause = { reason: "NamespaceTerminating", message, field: "metadata.namespace" };
      throw forbidden(resourceSubject(type), name, why, [cause]);
    }
  }

  /** Puts `next` in the place of `live`; `owners` are given when an apply has worked them out. */
  #replace(
    served: ServedType,
    live: KubeObject,
    next: KubeObject,
    subresource: Subresource,
    options: WriteOptions,
    owners: KubeObject["metadata"]["managedFields"],
  ): Written {
    const { type, version } = served;
    const { store, clock } = this.#world;
    const name = live.metadata.name ?? "";
    const wanted = next.metadata.resourceVersion;
    if (wanted !== undefined && wanted !== "" && wanted !== live.metadata.resourceVersion) {
      throw conflict(resourceSubject(type), name);
    }
    if (next.metadata.uid !== undefined && next.metadata.uid !== live.metadata.uid) {
      const why = `Precondition failed: UID in precondition: ${next.metadata.uid}, UID in object meta: ${live.metadata.uid ?? ""}`;
      throw conflict(resourceSubject(type), name, why);
    }
    const result = this.#combined(served, live, next, subresource);
    if (subresource === "") type.strategy.prepare?.(result, live);
    this.#validate(served, result, live);
    if (type.generation !== "none" && bumpsGeneration(type.generation, live, result)) {
      result.metadata.generation = (live.metadata.generation ?? 0) + 1;
    }
    const entries =
      owners ??
      ownersAfterUpdate(
        live,
        result,
        version.schema,
        this.#updater(served, options, subresource),
        kubeTime(clock),
      );
    setOwners(result, entries);
    const tidy = tidied(result);
    if (equalJson(tidy, live)) return { object: live, created: false };
    if (options.dryRun) return { object: tidy, created: false };
    const key = storageKey(type);
    const stored = toStored(tidy, served);
    const gone = tidy.metadata.deletionTimestamp !== undefined && isFinished(tidy);
    const object = gone ? store.remove(key, stored) : store.put(key, stored);
    return { object: toServed(object, served), created: false };
  }

  /** What a write to the object or to one of its subresources may change, on top of `live`. */
  #combined(
    { type, version }: ServedType,
    live: KubeObject,
    next: KubeObject,
    subresource: Subresource,
  ): KubeObject {
    const metadata = { ...live.metadata };
    if (subresource === "status") {
      const managed = next.metadata.managedFields;
      if (managed !== undefined) metadata.managedFields = managed;
      const result: KubeObject = { ...copyJson(live), metadata };
      if (next.status === undefined) delete result.status;
      else result.status = next.status;
      return result;
    }
    for (const field of [
      "labels",
      "annotations",
      "finalizers",
      "ownerReferences",
      "managedFields",
    ] as const) {
      const value = next.metadata[field];
      if (value === undefined) delete metadata[field];
      else Object.assign(metadata, { [field]: value });
    }
    const result: KubeObject = { ...next, metadata };
    if (version.status) {
      if (live.status === undefined) delete result.status;
      else result.status = live.status;
    }
    if (type.plural === "namespaces" && type.group === "") result.spec = live.spec;
    return result;
  }

  #updater({ type, version }: ServedType, options: WriteOptions, subresource: Subresource): Manager {
    return {
      name: options.manager,
      operation: "Update",
      apiVersion: apiVersionOf(type.group, version.name),
      subresource,
    };
  }

  #validate(served: ServedType, object: KubeObject, previous: KubeObject | undefined): void {
    const { type, version } = served;
    const { metadata } = object;
    const errors: FieldError[] = [];
    if (previous === undefined) {
      if ((metadata.name ?? "") === "")
        errors.push(requiredValue("metadata.name", "name or generateName is required"));
      else errors.push(...checkName(metadata.name ?? "", type.names, "metadata.name"));
    }
    errors.push(...checkLabels(metadata.labels ?? {}, "metadata.labels"));
    if (previous?.metadata.deletionTimestamp !== undefined) {
      const known = new Set(previous.metadata.finalizers ?? []);
      const added = (metadata.finalizers ?? []).filter((finalizer) => !known.has(finalizer));
      if (added.length > 0) {
        const why = "no new finalizers can be added if the object is being deleted, found new finalizers";
        errors.push({
          reason: "FieldValueForbidden",
          field: "metadata.finalizers",
          message: `Forbidden: ${why} ${JSON.stringify(added)}`,
        });
      }
    }
    if (type.custom) errors.push(...validateValues(asJson(object), version.schema));
    errors.push(...(type.strategy.validate?.(object, previous) ?? []));
    if (errors.length > 0) throw invalid(kindSubject(type), metadata.name ?? "", errors);
  }
}

/** Whether nothing holds a deleted object back any more: no finalizer, and no grace period that a node ends. */
export function isFinished({ metadata, kind }: KubeObject): boolean {
  if ((metadata.finalizers?.length ?? 0) > 0) return false;
  return kind !== "Pod" || (metadata.deletionGracePeriodSeconds ?? 0) === 0;
}

function bumpsGeneration(rule: "spec" | "all", live: KubeObject, next: KubeObject): boolean {
  if (rule === "spec") return !equalJson(live.spec, next.spec);
  const { metadata: _a, status: _b, apiVersion: _c, ...before } = live;
  const { metadata: _d, status: _e, apiVersion: _f, ...after } = next;
  return !equalJson(before, after);
}

function setOwners(object: KubeObject, owners: NonNullable<KubeObject["metadata"]["managedFields"]>): void {
  if (owners.length === 0) delete object.metadata.managedFields;
  else object.metadata.managedFields = owners;
}

/** Members in the order people expect, empty maps of metadata left out. */
function tidied(object: KubeObject): KubeObject {
  const { apiVersion, kind, metadata, ...rest } = object;
  const meta: JsonObject = {};
  for (const [field, value] of Object.entries(metadata)) {
    const empty = Array.isArray(value)
      ? value.length === 0
      : isObject(value) && Object.keys(value).length === 0;
    if (value !== undefined && !empty) meta[field] = value as Json;
  }
  return { apiVersion, kind, metadata: meta, ...rest } as KubeObject;
}
