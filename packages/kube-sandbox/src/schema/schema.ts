import type { Json } from "../json.ts";

/** JSONSchemaProps of apiextensions.k8s.io/v1, also used for the built-in kinds, with the two strategic-merge hints. */
export type Schema = {
  type?: string;
  format?: string;
  title?: string;
  description?: string;
  properties?: { [field: string]: Schema };
  additionalProperties?: Schema | boolean;
  items?: Schema;
  required?: string[];
  enum?: Json[];
  default?: Json;
  nullable?: boolean;
  minimum?: number;
  maximum?: number;
  exclusiveMinimum?: boolean;
  exclusiveMaximum?: boolean;
  multipleOf?: number;
  minLength?: number;
  maxLength?: number;
  pattern?: string;
  minItems?: number;
  maxItems?: number;
  uniqueItems?: boolean;
  minProperties?: number;
  maxProperties?: number;
  allOf?: Schema[];
  anyOf?: Schema[];
  oneOf?: Schema[];
  not?: Schema;
  "x-kubernetes-int-or-string"?: boolean;
  "x-kubernetes-preserve-unknown-fields"?: boolean;
  "x-kubernetes-embedded-resource"?: boolean;
  "x-kubernetes-list-type"?: string;
  "x-kubernetes-list-map-keys"?: string[];
  "x-kubernetes-map-type"?: string;
  "x-kubernetes-patch-strategy"?: string;
  "x-kubernetes-patch-merge-key"?: string;
};

export type Fields = { [field: string]: Schema };

/** Builders, so that the schemas of built-in kinds read like the types they stand for. */
export const str: Schema = { type: "string" };
export const bool: Schema = { type: "boolean" };
export const int32: Schema = { type: "integer", format: "int32" };
export const int64: Schema = { type: "integer", format: "int64" };
export const bytes: Schema = { type: "string", format: "byte" };
export const time: Schema = { type: "string", format: "date-time" };
export const intOrString: Schema = { "x-kubernetes-int-or-string": true };
/** Quantities are strings, but people write `cpu: 1`: Kubernetes takes numbers too. */
export const quantity: Schema = { "x-kubernetes-int-or-string": true };
/** A part of a built-in kind that the sandbox stores and never looks into. */
export const opaque: Schema = { type: "object", "x-kubernetes-preserve-unknown-fields": true };

export function obj(properties: Fields, required: string[] = []): Schema {
  return { type: "object", properties, ...(required.length > 0 ? { required } : {}) };
}
export function atomicObj(properties: Fields): Schema {
  return { ...obj(properties), "x-kubernetes-map-type": "atomic" };
}
export function mapOf(additionalProperties: Schema): Schema {
  return { type: "object", additionalProperties };
}
/** A list that is one value: whoever sets it sets all of it. */
export function list(items: Schema): Schema {
  return { type: "array", items, "x-kubernetes-list-type": "atomic" };
}
export function setOf(items: Schema): Schema {
  return { type: "array", items, "x-kubernetes-list-type": "set", "x-kubernetes-patch-strategy": "merge" };
}
/** A list whose items are told apart by `keys`; `mergeKey` is what strategic merge patches go by. */
export function listMap(items: Schema, keys: string[], mergeKey: string = keys[0] ?? "name"): Schema {
  return {
    type: "array",
    items,
    "x-kubernetes-list-type": "map",
    "x-kubernetes-list-map-keys": keys,
    "x-kubernetes-patch-strategy": "merge",
    "x-kubernetes-patch-merge-key": mergeKey,
  };
}
export function described(schema: Schema, description: string): Schema {
  return { ...schema, description };
}
export function withDefault(schema: Schema, value: Json): Schema {
  return { ...schema, default: value };
}

/** The schema of member `field`: a declared property, else what additionalProperties says; undefined when unknown. */
export function fieldSchema(schema: Schema | undefined, field: string): Schema | undefined {
  const declared = schema?.properties?.[field];
  if (declared !== undefined) return declared;
  return typeof schema?.additionalProperties === "object" ? schema.additionalProperties : undefined;
}
