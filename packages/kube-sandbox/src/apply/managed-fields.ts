import {
  asJson,
  asKube,
  equalJson,
  isObject,
  type JsonObject,
  type KubeObject,
  type ManagedFieldsEntry,
} from "../json.ts";
import { objectMeta } from "../schema/object-meta.ts";
import type { Schema } from "../schema/schema.ts";
import { ApiError, badRequest } from "../status.ts";
import {
  difference,
  emptySet,
  type FieldSet,
  intersection,
  isEmpty,
  parseFields,
  paths,
  printFields,
  printPath,
  reaches,
  recursiveDifference,
  union,
} from "./field-set.ts";
import { compareValues, fieldsOf, mergeValues, withoutPath } from "./typed-value.ts";

/** Who writes: one manager may own fields once per operation and subresource. */
export interface Manager {
  name: string;
  operation: "Apply" | "Update";
  apiVersion: string;
  subresource: string;
}

interface Owner extends Manager {
  time: string;
  fields: FieldSet;
}

/** metadata that says who an object is, which nobody owns. */
const IDENTITY = [
  "name",
  "namespace",
  "uid",
  "creationTimestamp",
  "selfLink",
  "generation",
  "managedFields",
  "resourceVersion",
];
/** Set by the server as it deletes. */
const DELETION = ["deletionTimestamp", "deletionGracePeriodSeconds", "generateName"];

/** The part of an object whose fields are owned. */
function tracked(object: KubeObject | undefined, subresource: string): JsonObject {
  if (object === undefined) return {};
  const { apiVersion: _v, kind: _k, metadata, ...body } = asJson(object);
  const meta: JsonObject = isObject(metadata) ? { ...metadata } : {};
  for (const field of [...IDENTITY, ...DELETION]) delete meta[field];
  if (subresource === "status") return body.status === undefined ? {} : { status: body.status };
  return Object.keys(meta).length === 0 ? body : { ...body, metadata: meta };
}

const rooted = new WeakMap<Schema, Schema>();

/** The kind's schema with metadata filled in. */
export function withMetadata(schema: Schema): Schema {
  let root = rooted.get(schema);
  if (root === undefined) {
    const properties = { ...schema.properties, metadata: objectMeta };
    root = { ...schema, properties };
    rooted.set(schema, root);
  }
  return root;
}

function parseOwners(entries: ManagedFieldsEntry[] | undefined): Owner[] {
  return (entries ?? []).map((entry) => ({
    name: entry.manager ?? "",
    operation: entry.operation === "Apply" ? "Apply" : "Update",
    apiVersion: entry.apiVersion ?? "",
    subresource: entry.subresource ?? "",
    time: entry.time ?? "",
    fields: parseFields(entry.fieldsV1),
  }));
}

function printOwners(owners: Owner[]): ManagedFieldsEntry[] {
  return owners
    .filter(({ fields }) => !isEmpty(fields))
    .sort(
      (a, b) =>
        compareText(a.operation, b.operation) || compareText(a.time, b.time) || compareText(a.name, b.name),
    )
    .map((owner) => ({
      manager: owner.name,
      operation: owner.operation,
      apiVersion: owner.apiVersion,
      ...(owner.time === "" ? {} : { time: owner.time }),
      fieldsType: "FieldsV1",
      fieldsV1: printFields(owner.fields),
      ...(owner.subresource === "" ? {} : { subresource: owner.subresource }),
    }));
}

function compareText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

function same(a: Manager, b: Manager): boolean {
  return (
    a.name === b.name &&
    a.operation === b.operation &&
    a.subresource === b.subresource &&
    (a.operation === "Apply" || a.apiVersion === b.apiVersion)
  );
}

/** Owners after `manager` turned `live` into `next` by create, update or patch: what it changed is its own now. */
export function ownersAfterUpdate(
  live: KubeObject | undefined,
  next: KubeObject,
  schema: Schema,
  manager: Manager,
  now: string,
): ManagedFieldsEntry[] {
  // A request that brings managedFields of its own means them (`kubectl apply --server-side` migrates that way).
  const given = next.metadata.managedFields;
  const reset = given?.length === 1 && given[0]?.manager === undefined && given[0]?.operation === undefined;
  if (reset) return [];
  const current = live?.metadata.managedFields;
  const owners = parseOwners(given !== undefined && given.length > 0 ? given : current);
  const root = withMetadata(schema);
  const { changed, removed } = compareValues(
    tracked(live, manager.subresource),
    tracked(next, manager.subresource),
    root,
  );
  if (isEmpty(changed) && isEmpty(removed)) return printOwners(owners);
  let own: Owner | undefined;
  for (const owner of owners) {
    if (same(owner, manager)) own = owner;
    else owner.fields = difference(recursiveDifference(owner.fields, removed), changed);
  }
  if (own === undefined) {
    own = { ...manager, time: now, fields: emptySet() };
    owners.push(own);
  }
  const fields = union(recursiveDifference(own.fields, removed), changed);
  if (!equalJson(printFields(fields), printFields(own.fields))) own.time = now;
  own.fields = fields;
  return printOwners(owners);
}

export interface Applied {
  object: KubeObject;
  managedFields: ManagedFieldsEntry[];
}

/** Server-side apply: `config` is all that `manager` wants to say about the object. Throws 409 unless `force`. */
export function applyConfig(
  live: KubeObject,
  config: KubeObject,
  schema: Schema,
  manager: Manager,
  options: { force: boolean; now: string },
): Applied {
  if ((config.metadata.managedFields?.length ?? 0) > 0)
    throw badRequest("metadata.managedFields must be nil");
  const root = withMetadata(schema);
  const wanted = tracked(config, manager.subresource);
  const owners = parseOwners(live.metadata.managedFields);
  const fields = fieldsOf(wanted, root);
  let own = owners.find((owner) => same(owner, manager));
  const before = own?.fields ?? emptySet();
  const others = owners.filter((owner) => owner !== own);

  const current = tracked(live, "");
  let merged = mergeValues(current, wanted, root);
  for (const path of paths(difference(before, fields))) {
    const kept = reaches(fields, path) || others.some((owner) => reaches(owner.fields, path));
    if (!kept) merged = withoutPath(merged, path, root);
  }

  const { changed, removed } = compareValues(current, merged, root);
  const conflicts: Conflict[] = [];
  const granted = manager.name === "kubectl" ? fieldsOfLastApplied(live, root) : emptySet();
  for (const owner of others) {
    const contested = intersection(owner.fields, changed);
    for (const path of paths(difference(contested, granted))) conflicts.push({ owner, path });
    owner.fields = recursiveDifference(difference(owner.fields, contested), removed);
  }
  if (conflicts.length > 0 && !options.force) throw applyConflict(conflicts);

  if (own === undefined) {
    own = { ...manager, time: options.now, fields };
    owners.push(own);
  } else {
    if (!equalJson(printFields(own.fields), printFields(fields))) own.time = options.now;
    own.fields = fields;
    own.apiVersion = manager.apiVersion;
  }
  return { object: rebuilt(live, isObject(merged) ? merged : {}), managedFields: printOwners(owners) };
}

/**
 * What `kubectl apply` said before it became server-side, where it still stands: kubectl may change that without
 * force, as kube-apiserver's lastAppliedManager lets it.
 */
function fieldsOfLastApplied(live: KubeObject, root: Schema): FieldSet {
  const text = live.metadata.annotations?.["kubectl.kubernetes.io/last-applied-configuration"];
  if (text === undefined) return emptySet();
  let said: unknown;
  try {
    said = JSON.parse(text);
  } catch {
    // An annotation that somebody broke grants nothing.
    return emptySet();
  }
  if (!isObject(said)) return emptySet();
  const { status: _status, ...config } = said;
  const wanted = tracked(asKube(config), "");
  const { changed, removed } = compareValues(wanted, tracked(live, ""), root);
  return difference(difference(fieldsOf(wanted, root), changed), removed);
}

interface Conflict {
  owner: Owner;
  path: string[];
}

/** The merged fields put back beside the identity that `live` has. */
function rebuilt(live: KubeObject, merged: JsonObject): KubeObject {
  const metadata: JsonObject = { ...(isObject(merged.metadata) ? merged.metadata : {}) };
  const own: JsonObject = { ...live.metadata } as JsonObject;
  for (const field of [...IDENTITY, ...DELETION]) if (own[field] !== undefined) metadata[field] = own[field];
  return { ...merged, apiVersion: live.apiVersion, kind: live.kind, metadata } as KubeObject;
}

function applyConflict(conflicts: Conflict[]): ApiError {
  const causes = conflicts.map(({ owner, path }) => ({
    reason: "FieldManagerConflict",
    message: `conflict with ${printManager(owner)}`,
    field: printPath(path),
  }));
  const byManager = new Map<string, string[]>();
  for (const { message, field } of causes) byManager.set(message, [...(byManager.get(message) ?? []), field]);
  const texts = [...byManager].map(([message, fields]) =>
    fields.length === 1
      ? `${message}: ${fields[0] ?? ""}`
      : `${message.replace("conflict", "conflicts")}:\n${fields.map((field) => `- ${field}`).join("\n")}`,
  );
  const count = conflicts.length === 1 ? "1 conflict" : `${conflicts.length} conflicts`;
  return new ApiError(409, "Conflict", `Apply failed with ${count}: ${texts.join("\n")}`, { causes });
}

function printManager(owner: Owner): string {
  const subresource = owner.subresource === "" ? "" : ` with subresource "${owner.subresource}"`;
  const version = owner.operation === "Update" ? ` using ${owner.apiVersion}` : "";
  return `"${owner.name}"${subresource}${version}`;
}
