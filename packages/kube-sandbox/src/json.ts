/** What JSON can say. `undefined` members are absent ones: JSON.stringify drops them. */
export type Json = string | number | boolean | null | Json[] | JsonObject;
export type JsonObject = { [field: string]: Json | undefined };

export type ManagedFieldsEntry = {
  manager?: string;
  operation?: string;
  apiVersion?: string;
  time?: string;
  fieldsType?: string;
  fieldsV1?: JsonObject;
  subresource?: string;
};

export type OwnerReference = {
  apiVersion: string;
  kind: string;
  name: string;
  uid: string;
  controller?: boolean;
  blockOwnerDeletion?: boolean;
};

export type ObjectMeta = {
  name?: string;
  generateName?: string;
  namespace?: string;
  uid?: string;
  resourceVersion?: string;
  generation?: number;
  creationTimestamp?: string;
  deletionTimestamp?: string;
  deletionGracePeriodSeconds?: number;
  labels?: { [key: string]: string };
  annotations?: { [key: string]: string };
  finalizers?: string[];
  ownerReferences?: OwnerReference[];
  managedFields?: ManagedFieldsEntry[];
};

/** An API object. Stored ones are shared by every reader and never changed in place. */
export type KubeObject = {
  apiVersion: string;
  kind: string;
  metadata: ObjectMeta;
  [field: string]: Json | undefined | ObjectMeta;
};

export function isObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Member `field` when it is an object, else an empty one: for reading deep optional parts. */
export function objectAt(value: unknown, field: string): JsonObject {
  if (!isObject(value)) return {};
  const member = value[field];
  return isObject(member) ? member : {};
}

export function arrayAt(value: unknown, field: string): Json[] {
  if (!isObject(value)) return [];
  const member = value[field];
  return Array.isArray(member) ? member : [];
}

export function textAt(value: unknown, field: string): string {
  if (!isObject(value)) return "";
  const member = value[field];
  return typeof member === "string" ? member : "";
}

/** Equality of JSON values; absent and undefined members are the same. */
export function equalJson(a: unknown, b: unknown): boolean {
  if (a === b) return true;
  if (Array.isArray(a)) {
    return Array.isArray(b) && a.length === b.length && a.every((item, i) => equalJson(item, b[i]));
  }
  if (!isObject(a) || !isObject(b)) return false;
  for (const key of Object.keys(a)) if (!equalJson(a[key], b[key])) return false;
  for (const key of Object.keys(b)) if (b[key] !== undefined && a[key] === undefined) return false;
  return true;
}

export function asJson(object: KubeObject): JsonObject {
  return object as unknown as JsonObject;
}

export function asKube(value: JsonObject): KubeObject {
  return value as unknown as KubeObject;
}

/** A deep copy that drops undefined members. */
export function copyJson<T>(value: T): T {
  if (Array.isArray(value)) return value.map((item) => copyJson(item)) as T;
  if (!isObject(value)) return value;
  const copy: JsonObject = {};
  for (const [key, member] of Object.entries(value)) if (member !== undefined) copy[key] = copyJson(member);
  return copy as T;
}
