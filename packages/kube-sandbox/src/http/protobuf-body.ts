import { isObject, type Json, type JsonObject } from "../json.ts";
import { badRequest, unsupportedMediaType } from "../status.ts";
import { PROTOBUF_MESSAGES } from "./protobuf-messages.ts";

export const PROTOBUF = "application/vnd.kubernetes.protobuf";
/** Every Kubernetes protobuf document begins so; what follows is a runtime.Unknown. */
const MAGIC = Buffer.from("k8s\0");

interface Field {
  name: string;
  type: string;
  repeated: boolean;
  map: boolean;
}

type Messages = Map<string, Map<number, Field>>;
let messages: Messages | undefined;

/** Read when the first such body comes: `kubectl create NAME` of 1.32 and later sends them, nothing of ours does. */
function messageTable(): Messages {
  if (messages !== undefined) return messages;
  messages = new Map();
  for (const line of PROTOBUF_MESSAGES.trim().split("\n")) {
    const [name = "", fields = ""] = line.split(": ");
    const table = new Map<number, Field>();
    for (const entry of fields.split(", ").filter((text) => text !== "")) {
      const [number, field = "", type = ""] = entry.split(" ");
      const repeated = type.endsWith("[]");
      const map = type.endsWith("{}");
      table.set(Number(number), {
        name: field,
        type: repeated || map ? type.slice(0, -2) : type,
        repeated,
        map,
      });
    }
    messages.set(name, table);
  }
  return messages;
}

/** A protobuf body as the JSON that it stands for. */
export function decodeProtobuf(body: Buffer): JsonObject {
  if (!body.subarray(0, 4).equals(MAGIC))
    throw badRequest("provided data does not appear to be a protobuf message");
  const envelope = readFields(body.subarray(4));
  const meta = readFields(bytesOf(envelope.get(1)?.[0]));
  const apiVersion = bytesOf(meta.get(1)?.[0]).toString();
  const kind = bytesOf(meta.get(2)?.[0]).toString();
  const group = apiVersion.includes("/") ? (apiVersion.split("/")[0] ?? "") : "core";
  const name = kind === "DeleteOptions" ? "meta/DeleteOptions" : `${group.split(".")[0] ?? ""}/${kind}`;
  if (!messageTable().has(name)) throw unsupportedMediaType(["application/json", "application/yaml"]);
  const value = decodeMessage(bytesOf(envelope.get(2)?.[0]), name);
  return { apiVersion, kind, ...(isObject(value) ? value : {}) };
}

type Wire = number | Buffer;

function bytesOf(wire: Wire | undefined): Buffer {
  return Buffer.isBuffer(wire) ? wire : Buffer.alloc(0);
}

function readFields(bytes: Buffer): Map<number, Wire[]> {
  const fields = new Map<number, Wire[]>();
  let at = 0;
  const varint = (): number => {
    let value = 0;
    let scale = 1;
    for (;;) {
      const byte = bytes[at++];
      if (byte === undefined) throw badRequest("unexpected EOF in a protobuf message");
      value += (byte & 127) * scale;
      if (byte < 128) break;
      scale *= 128;
    }
    // Negative numbers are ten bytes long: two's complement of 64 bits.
    return value >= 2 ** 63 ? value - 2 ** 64 : value;
  };
  while (at < bytes.length) {
    const tag = varint();
    let wire: Wire;
    switch (tag & 7) {
      case 0:
        wire = varint();
        break;
      case 2: {
        const length = varint();
        if (length < 0 || at + length > bytes.length)
          throw badRequest("unexpected EOF in a protobuf message");
        wire = bytes.subarray(at, at + length);
        at += length;
        break;
      }
      default:
        throw badRequest(`a protobuf wire type that Kubernetes does not use: ${tag & 7}`);
    }
    const number = tag >>> 3;
    const values = fields.get(number);
    if (values === undefined) fields.set(number, [wire]);
    else values.push(wire);
  }
  return fields;
}

function decodeMessage(bytes: Buffer, name: string): JsonObject {
  const table = messageTable().get(name);
  const result: JsonObject = {};
  for (const [number, wires] of readFields(bytes)) {
    const field = table?.get(number);
    if (field === undefined) continue;
    if (field.map) {
      const entries: JsonObject = {};
      for (const wire of wires) {
        const entry = readFields(bytesOf(wire));
        entries[bytesOf(entry.get(1)?.[0]).toString()] = decodeValue(entry.get(2)?.[0], field.type) ?? "";
      }
      result[field.name] = entries;
    } else if (field.repeated) {
      result[field.name] = wires.map((wire) => decodeValue(wire, field.type) ?? "");
    } else {
      const value = decodeValue(wires.at(-1), field.type);
      if (value !== undefined && !isUnset(value, field)) assign(result, field.name, value);
    }
  }
  return result;
}

/** Embedded structs are fields of their own on the wire, and inline in JSON. */
const INLINE: ReadonlySet<string> = new Set([
  "volumeSource",
  "handler",
  "probeHandler",
  "localObjectReference",
]);

function assign(result: JsonObject, name: string, value: Json): void {
  if (INLINE.has(name) && isObject(value)) Object.assign(result, value);
  else result[name] = value;
}

/** Pointers in Go, where zero is a value: elsewhere the wire also carries what was never set. */
const ZERO_MEANS: ReadonlySet<string> = new Set([
  "replicas",
  "revisionHistoryLimit",
  "progressDeadlineSeconds",
  "terminationGracePeriodSeconds",
  "gracePeriodSeconds",
  "port",
  "ready",
  "serving",
  "terminating",
  "runAsUser",
  "controller",
  "blockOwnerDeletion",
  "automountServiceAccountToken",
]);

function isUnset(value: Json, { name }: Field): boolean {
  if (value === "") return true;
  return (value === 0 || value === false) && !ZERO_MEANS.has(name);
}

function decodeValue(wire: Wire | undefined, type: string): Json | undefined {
  switch (type) {
    case "string":
      return bytesOf(wire).toString();
    case "bytes":
      return bytesOf(wire).toString("base64");
    case "bool":
      return wire === 1;
    case "int32":
    case "int64":
      return typeof wire === "number" ? wire : 0;
    case "quantity":
      return bytesOf(readFields(bytesOf(wire)).get(1)?.[0]).toString();
    case "intstr":
      return decodeIntOrString(bytesOf(wire));
    case "fields":
      return JSON.parse(bytesOf(readFields(bytesOf(wire)).get(1)?.[0]).toString() || "{}") as Json;
    case "time":
    case "microtime":
      return decodeTime(bytesOf(wire), type === "microtime");
    default:
      return decodeMessage(bytesOf(wire), type);
  }
}

function decodeIntOrString(bytes: Buffer): Json {
  const fields = readFields(bytes);
  const number = fields.get(2)?.[0];
  if (fields.get(1)?.[0] === 1) return bytesOf(fields.get(3)?.[0]).toString();
  return typeof number === "number" ? number : 0;
}

/** undefined for Go's zero time, which is written as an empty message or as the year 1. */
function decodeTime(bytes: Buffer, micro: boolean): string | undefined {
  const fields = readFields(bytes);
  const seconds = fields.get(1)?.[0];
  const nanos = fields.get(2)?.[0];
  if (typeof seconds !== "number" || seconds <= 0) return undefined;
  const text = new Date(seconds * 1000).toISOString().slice(0, 19);
  const fraction = typeof nanos === "number" ? String(Math.floor(nanos / 1000)).padStart(6, "0") : "000000";
  return micro ? `${text}.${fraction}Z` : `${text}Z`;
}
