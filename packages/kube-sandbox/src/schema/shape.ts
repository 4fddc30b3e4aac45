import { copyJson, isObject, type Json, type JsonObject } from "../json.ts";
import { objectMeta } from "./object-meta.ts";
import { fieldSchema, quantity, type Schema } from "./schema.ts";

/** How a document is brought into the shape its schema allows. */
export interface Shaping {
  /** Built-in kinds are decoded into Go types: nulls vanish and an ill-typed field refuses the document. */
  typed: boolean;
  defaults: boolean;
}

export interface Shaped {
  value: JsonObject;
  /** Paths of fields that the schema does not know; they are left out of `value`. */
  unknown: string[];
  /** The first ill-typed field, as encoding/json words it; only with `typed`. */
  mismatch: string | undefined;
}

interface Walk extends Shaping {
  kind: string;
  unknown: string[];
  mismatch: string | undefined;
}

/** Prunes unknown fields and fills in defaults, as decoding does in kube-apiserver. The input is left alone. */
export function shapeObject(object: JsonObject, schema: Schema, kind: string, shaping: Shaping): Shaped {
  const walk: Walk = { ...shaping, kind, unknown: [], mismatch: undefined };
  const { apiVersion, metadata, ...rest } = object;
  const { kind: ownKind, ...body } = rest;
  const metaWalk: Walk = { ...walk, typed: true, defaults: false };
  const meta = isObject(metadata) ? shapeValue(metadata, objectMeta, "metadata", metaWalk) : {};
  walk.mismatch = metaWalk.mismatch;
  const { properties, ...root } = schema;
  const { apiVersion: _a, kind: _k, metadata: _m, ...own } = properties ?? {};
  const shaped = shapeValue(body, { ...root, type: "object", properties: own }, "", walk);
  const value: JsonObject = {
    ...(ownKind === undefined ? {} : { kind: ownKind }),
    ...(apiVersion === undefined ? {} : { apiVersion }),
    metadata: meta ?? {},
    ...(isObject(shaped) ? shaped : {}),
  };
  return { value, unknown: walk.unknown, mismatch: walk.mismatch };
}

function shapeValue(value: Json, schema: Schema, path: string, walk: Walk): Json | undefined {
  if (value === null)
    return walk.typed || (schema.default !== undefined && !schema.nullable) ? undefined : null;
  if (schema === quantity && typeof value === "number") return String(value);
  if (walk.typed && !wellTyped(value, schema)) {
    walk.mismatch ??= `json: cannot unmarshal ${jsonType(value)} into Go struct field ${walk.kind}.${goPath(path)} of type ${goType(schema)}`;
    return value;
  }
  if (Array.isArray(value)) {
    const items = schema.items;
    if (items === undefined) return copyJson(value);
    return value.map((item, i) => shapeValue(item, items, `${path}[${i}]`, walk) ?? null);
  }
  return isObject(value) ? shapeMembers(value, schema, path, walk) : value;
}

function shapeMembers(value: JsonObject, schema: Schema, path: string, walk: Walk): JsonObject {
  const open = isOpen(schema);
  const shaped: JsonObject = {};
  for (const [field, member] of Object.entries(value)) {
    if (member === undefined) continue;
    const own = path === "" ? field : `${path}.${field}`;
    const memberSchema = fieldSchema(schema, field);
    if (memberSchema !== undefined) {
      const kept = shapeValue(member, memberSchema, own, walk);
      if (kept !== undefined) shaped[field] = kept;
    } else if (open || (schema["x-kubernetes-embedded-resource"] && EMBEDDED.has(field))) {
      shaped[field] = copyJson(member);
    } else {
      walk.unknown.push(own);
    }
  }
  if (walk.defaults) {
    for (const [field, member] of Object.entries(schema.properties ?? {})) {
      if (member.default === undefined || shaped[field] !== undefined) continue;
      const filled = shapeValue(
        copyJson(member.default),
        member,
        path === "" ? field : `${path}.${field}`,
        walk,
      );
      if (filled !== undefined) shaped[field] = filled;
    }
  }
  return shaped;
}

const EMBEDDED: ReadonlySet<string> = new Set(["apiVersion", "kind", "metadata"]);

function isOpen(schema: Schema): boolean {
  return (
    schema["x-kubernetes-preserve-unknown-fields"] === true ||
    schema.additionalProperties === true ||
    (schema.type === undefined && schema.properties === undefined)
  );
}

function wellTyped(value: Json, schema: Schema): boolean {
  if (schema["x-kubernetes-int-or-string"]) return typeof value === "string" || typeof value === "number";
  switch (schema.type) {
    case "string":
      return typeof value === "string";
    case "boolean":
      return typeof value === "boolean";
    case "integer":
      return typeof value === "number" && Number.isInteger(value);
    case "number":
      return typeof value === "number";
    case "array":
      return Array.isArray(value);
    case "object":
      return isObject(value);
    default:
      return true;
  }
}

function jsonType(value: Json): string {
  if (typeof value === "boolean") return "bool";
  if (typeof value === "number") return Number.isInteger(value) ? "number" : `number ${value}`;
  if (Array.isArray(value)) return "array";
  return typeof value;
}

function goPath(path: string): string {
  return path.replaceAll(/\[\d+\]/g, "");
}

function goType(schema: Schema): string {
  switch (schema.type) {
    case "integer":
      return schema.format === "int64" ? "int64" : "int32";
    case "boolean":
      return "bool";
    case "array":
      return `[]${schema.items === undefined ? "object" : goType(schema.items)}`;
    case "object":
      return typeof schema.additionalProperties === "object"
        ? `map[string]${goType(schema.additionalProperties)}`
        : "object";
    default:
      return schema.type ?? "object";
  }
}
