import { stringify } from "yaml";
import { isObject, type Json, type JsonObject } from "../json.ts";

/**
 * OpenAPI 2 in gnostic's protobuf form, the only one that kubectl asks /openapi/v2 for. Field numbers are those of
 * openapiv2/OpenAPIv2.proto; what the sandbox never says has no encoder.
 */
export function encodeSwagger(document: JsonObject): Buffer {
  return message([
    text(1, document.swagger),
    nested(2, encodeInfo(document.info)),
    nested(8, named(2, document.paths, encodePathItem)),
    nested(9, named(1, document.definitions, encodeSchema)),
  ]);
}

const NONE = Buffer.alloc(0);

function message(parts: Buffer[]): Buffer {
  return Buffer.concat(parts);
}

function varint(value: number): Buffer {
  const bytes: number[] = [];
  let rest = value;
  while (rest > 127) {
    bytes.push((rest % 128) | 128);
    rest = Math.floor(rest / 128);
  }
  bytes.push(rest);
  return Buffer.from(bytes);
}

function nested(field: number, body: Buffer): Buffer {
  return Buffer.concat([varint(field * 8 + 2), varint(body.length), body]);
}

function text(field: number, value: Json | undefined): Buffer {
  return typeof value === "string" && value !== "" ? nested(field, Buffer.from(value)) : NONE;
}

function texts(field: number, values: Json | undefined): Buffer {
  return Array.isArray(values) ? message(values.map((value) => text(field, value))) : NONE;
}

function flag(field: number, value: Json | undefined): Buffer {
  return value === true ? Buffer.concat([varint(field * 8), varint(1)]) : NONE;
}

function whole(field: number, value: Json | undefined): Buffer {
  return typeof value === "number" && value > 0 ? Buffer.concat([varint(field * 8), varint(value)]) : NONE;
}

function double(field: number, value: Json | undefined): Buffer {
  if (typeof value !== "number") return NONE;
  const body = Buffer.alloc(8);
  body.writeDoubleLE(value);
  return Buffer.concat([varint(field * 8 + 1), body]);
}

/** `Any` holds a value as YAML. */
function anyValue(field: number, value: Json | undefined): Buffer {
  return value === undefined ? NONE : nested(field, text(2, stringify(value)));
}

function named(field: number, members: Json | undefined, encode: (value: Json) => Buffer): Buffer {
  if (!isObject(members)) return NONE;
  return message(
    Object.entries(members).map(([name, value]) =>
      value === undefined ? NONE : nested(field, message([text(1, name), nested(2, encode(value))])),
    ),
  );
}

function extensions(field: number, value: JsonObject): Buffer {
  return message(
    Object.entries(value)
      .filter(([name]) => name.startsWith("x-"))
      .map(([name, member]) => nested(field, message([text(1, name), anyValue(2, member)]))),
  );
}

function encodeInfo(info: Json | undefined): Buffer {
  return isObject(info) ? message([text(1, info.title), text(2, info.version)]) : NONE;
}

const OPERATIONS: [method: string, field: number][] = [
  ["get", 2],
  ["put", 3],
  ["post", 4],
  ["delete", 5],
  ["patch", 8],
];

function encodePathItem(item: Json): Buffer {
  if (!isObject(item)) return NONE;
  return message(
    OPERATIONS.map(([method, field]) => (item[method] ? nested(field, encodeOperation(item[method])) : NONE)),
  );
}

function encodeOperation(operation: Json): Buffer {
  if (!isObject(operation)) return NONE;
  const parameters = Array.isArray(operation.parameters) ? operation.parameters.filter(isObject) : [];
  return message([
    text(5, operation.operationId),
    // ParametersItem → Parameter → NonBodyParameter → QueryParameterSubSchema
    ...parameters.map((parameter) =>
      nested(8, nested(1, nested(2, nested(3, encodeQueryParameter(parameter))))),
    ),
    nested(9, named(1, operation.responses, encodeResponse)),
    extensions(13, operation),
  ]);
}

function encodeQueryParameter({ name, type }: JsonObject): Buffer {
  return message([text(2, "query"), text(4, name), text(6, type), flag(20, true)]);
}

/** ResponseValue → Response. */
function encodeResponse(response: Json): Buffer {
  return isObject(response) ? nested(1, text(1, response.description)) : NONE;
}

function encodeSchema(schema: Json): Buffer {
  if (!isObject(schema)) return NONE;
  const { additionalProperties, items, allOf } = schema;
  return message([
    text(1, schema.$ref),
    text(2, schema.format),
    text(3, schema.title),
    text(4, schema.description),
    anyValue(5, schema.default),
    double(6, schema.multipleOf),
    double(7, schema.maximum),
    flag(8, schema.exclusiveMaximum),
    double(9, schema.minimum),
    flag(10, schema.exclusiveMinimum),
    whole(11, schema.maxLength),
    whole(12, schema.minLength),
    text(13, schema.pattern),
    whole(14, schema.maxItems),
    whole(15, schema.minItems),
    flag(16, schema.uniqueItems),
    whole(17, schema.maxProperties),
    whole(18, schema.minProperties),
    texts(19, schema.required),
    ...(Array.isArray(schema.enum) ? schema.enum.map((value) => anyValue(20, value)) : []),
    isObject(additionalProperties)
      ? nested(21, nested(1, encodeSchema(additionalProperties)))
      : additionalProperties === true
        ? nested(21, flag(2, true))
        : NONE,
    typeof schema.type === "string" ? nested(22, text(1, schema.type)) : NONE,
    items === undefined ? NONE : nested(23, nested(1, encodeSchema(items))),
    ...(Array.isArray(allOf) ? allOf.map((part) => nested(24, encodeSchema(part))) : []),
    isObject(schema.properties) ? nested(25, named(1, schema.properties, encodeSchema)) : NONE,
    extensions(31, schema),
  ]);
}
