import { createRequire } from "node:module";
import type { Ajv, ErrorObject, ValidateFunction } from "ajv";
import { isObject, type Json, type JsonObject } from "../json.ts";
import { type FieldError, invalidValue, requiredValue, unsupportedValue } from "../status.ts";
import type { Schema } from "./schema.ts";

const compiled = new WeakMap<Schema, ValidateFunction>();
let ajv: Ajv | undefined;
// Loaded with the first custom resource: importing ajv takes longer than starting three clusters.
const load = createRequire(import.meta.url);

/** Checks types and value rules of a structural schema; compiled when the first object of that schema arrives. */
export function validateValues(object: JsonObject, schema: Schema): FieldError[] {
  let validate = compiled.get(schema);
  if (validate === undefined) {
    validate = compile(schema);
    compiled.set(schema, validate);
  }
  if (validate(object)) return [];
  const errors = (validate.errors ?? []).flatMap(toFieldError);
  // The same field fails once per branch of an oneOf; Kubernetes says it once as well.
  const seen = new Set<string>();
  return errors.filter(({ field, message }) => {
    const key = `${field}\n${message}`;
    if (seen.has(key)) return false;
    seen.add(key);
    return true;
  });
}

function compile(schema: Schema): ValidateFunction {
  if (ajv === undefined) {
    const { Ajv: Compiler } = load("ajv") as { Ajv: typeof Ajv };
    ajv = new Compiler(OPTIONS);
  }
  return ajv.compile(toJsonSchema(schema));
}

const DATE_TIME = /^\d{4}-\d{2}-\d{2}[Tt]\d{2}:\d{2}:\d{2}(\.\d+)?([Zz]|[+-]\d{2}:\d{2})$/;
/** Formats that apiextensions checks; others are documentation. */
const FORMATS = {
  "date-time": DATE_TIME,
  date: /^\d{4}-\d{2}-\d{2}$/,
  ipv4: /^(\d{1,3}\.){3}\d{1,3}$/,
  uuid: /^[0-9a-fA-F]{8}-?([0-9a-fA-F]{4}-?){3}[0-9a-fA-F]{12}$/,
  byte: /^[A-Za-z0-9+/]*={0,2}$/,
  int32: true,
  int64: true,
  float: true,
  double: true,
  password: true,
} as const;

const OPTIONS = { allErrors: true, verbose: true, strict: false, validateFormats: true, formats: FORMATS };

/** The draft-7 schema of a structural one: apiVersion, kind and metadata are checked elsewhere. */
function toJsonSchema(schema: Schema): JsonObject {
  const draft: JsonObject = {};
  for (const [keyword, value] of Object.entries(schema)) {
    if (COPIED.has(keyword)) draft[keyword] = value as Json;
  }
  const { properties, additionalProperties, items, allOf, anyOf, oneOf, not } = schema;
  if (schema.format !== undefined && schema.format in FORMATS) draft.format = schema.format;
  if (properties !== undefined) {
    const own = Object.entries(properties).filter(([field]) => field !== "metadata");
    draft.properties = Object.fromEntries(own.map(([field, member]) => [field, toJsonSchema(member)]));
  }
  if (typeof additionalProperties === "object")
    draft.additionalProperties = toJsonSchema(additionalProperties);
  if (items !== undefined) draft.items = toJsonSchema(items);
  for (const [keyword, branches] of Object.entries({ allOf, anyOf, oneOf })) {
    if (branches !== undefined) draft[keyword] = branches.map(toJsonSchema);
  }
  if (not !== undefined) draft.not = toJsonSchema(not);
  if (schema.exclusiveMinimum && schema.minimum !== undefined) {
    draft.exclusiveMinimum = schema.minimum;
    delete draft.minimum;
  }
  if (schema.exclusiveMaximum && schema.maximum !== undefined) {
    draft.exclusiveMaximum = schema.maximum;
    delete draft.maximum;
  }
  if (schema["x-kubernetes-int-or-string"]) draft.type = ["integer", "string"];
  if (schema.nullable && draft.type !== undefined) draft.type = [draft.type, "null"].flat() as Json;
  if (schema.nullable && schema.enum !== undefined) draft.enum = [...schema.enum, null];
  return draft;
}

const COPIED: ReadonlySet<string> = new Set([
  "type",
  "required",
  "enum",
  "minimum",
  "maximum",
  "multipleOf",
  "minLength",
  "maxLength",
  "pattern",
  "minItems",
  "maxItems",
  "uniqueItems",
  "minProperties",
  "maxProperties",
]);

function toFieldError(error: ErrorObject): FieldError[] {
  const field = fieldPath(error.instancePath);
  const inBody = (why: string) => invalidValue(field, error.data, `${field} in body ${why}`);
  const params: unknown = error.params;
  const limit = isObject(params) ? String(params.limit ?? "") : "";
  switch (error.keyword) {
    case "required": {
      const missing = isObject(params) ? String(params.missingProperty) : "";
      return [requiredValue(field === "" ? missing : `${field}.${missing}`)];
    }
    case "enum": {
      const allowed = isObject(params) && Array.isArray(params.allowedValues) ? params.allowedValues : [];
      return [
        unsupportedValue(
          field,
          error.data,
          allowed.filter((value) => value !== null),
        ),
      ];
    }
    case "type": {
      const wanted = isObject(params) ? [params.type].flat().filter((type) => type !== "null") : [];
      const { data } = error;
      const found = data === null ? "null" : Array.isArray(data) ? "array" : jsonTypeOf(data);
      const why = `${field} in body must be of type ${wanted.join(",")}: "${found}"`;
      return [{ reason: "FieldValueTypeInvalid", field, message: `Invalid value: "${found}": ${why}` }];
    }
    case "minimum":
      return [inBody(`should be greater than or equal to ${limit}`)];
    case "exclusiveMinimum":
      return [inBody(`should be greater than ${limit}`)];
    case "maximum":
      return [inBody(`should be less than or equal to ${limit}`)];
    case "exclusiveMaximum":
      return [inBody(`should be less than ${limit}`)];
    case "minLength":
      return [inBody(`should be at least ${limit} chars long`)];
    case "maxLength": {
      const message = `Too long: may not be more than ${limit} bytes`;
      return [{ reason: "FieldValueTooLong", field, message }];
    }
    case "minItems":
      return [inBody(`should have at least ${limit} items`)];
    case "maxItems": {
      const count = Array.isArray(error.data) ? error.data.length : 0;
      return [
        {
          reason: "FieldValueTooMany",
          field,
          message: `Too many: ${count}: must have at most ${limit} items`,
        },
      ];
    }
    case "minProperties":
      return [inBody(`should have at least ${limit} properties`)];
    case "maxProperties":
      return [inBody(`should have at most ${limit} properties`)];
    case "pattern":
      return [inBody(`should match '${isObject(params) ? String(params.pattern) : ""}'`)];
    case "format":
      return [
        inBody(
          `must be of type ${isObject(params) ? String(params.format) : ""}: ${JSON.stringify(error.data)}`,
        ),
      ];
    case "multipleOf":
      return [inBody(`should be a multiple of ${isObject(params) ? String(params.multipleOf) : ""}`)];
    case "uniqueItems":
      return [inBody("shouldn't contain duplicates")];
    case "oneOf":
      return [inBody("must validate one and only one schema (oneOf)")];
    case "anyOf":
      return [inBody("must validate at least one schema (anyOf)")];
    case "not":
      return [inBody("must not validate the schema (not)")];
    default:
      return [inBody(error.message ?? "is invalid")];
  }
}

function jsonTypeOf(data: unknown): string {
  if (typeof data === "number") return Number.isInteger(data) ? "integer" : "number";
  return typeof data;
}

/** `/spec/ports/0/name` → `spec.ports[0].name`. */
function fieldPath(pointer: string): string {
  let path = "";
  for (const token of pointer.split("/").slice(1)) {
    const name = token.replaceAll("~1", "/").replaceAll("~0", "~");
    if (/^\d+$/.test(name)) path += `[${name}]`;
    else path += path === "" ? name : `.${name}`;
  }
  return path;
}
