import Type from "typebox";
import { Compile, type Validator } from "typebox/compile";
import { BadRecordError } from "./errors.ts";
import { Epoch, Trace } from "./records.ts";

/** Who took an order back, and why, for people. */
export const TakenBack = Type.Object({
  by: Type.Optional(Type.String({ maxLength: 253 })),
  reason: Type.Optional(Type.String({ maxLength: 1024 })),
});
export type TakenBack = Type.Static<typeof TakenBack>;

/** What every record on the bus is wrapped in. `epoch` stands on fenced tables only; `data` is absent when deleted. */
export interface Envelope<T> {
  readonly v: 1;
  readonly epoch?: Epoch;
  readonly deleted?: true;
  readonly trace?: Trace;
  /**
   * Of each kind of source the newest resourceVersion that its writer had acted upon. Whoever takes the part over has
   * seen no less once its own cache has reached these. Numbers, as KEP-5504 lets resourceVersions be compared.
   */
  readonly source?: Readonly<Record<string, number>>;
  /**
   * Of a plain table whose writers number what they say: rises with each change of the key, removals among them, over
   * all losses of the table. Of two records the one with the higher number was meant to last.
   */
  readonly generation?: number;
  /** Of an order's tombstone. */
  readonly takenBack?: TakenBack;
  readonly data?: T;
}

/** The same as a schema; what `data` is, its table says. */
export const EnvelopeShape = Type.Object({
  v: Type.Literal(1),
  epoch: Type.Optional(Epoch),
  deleted: Type.Optional(Type.Literal(true)),
  trace: Type.Optional(Trace),
  source: Type.Optional(Type.Record(Type.String(), Type.Integer({ minimum: 0 }))),
  generation: Type.Optional(Type.Integer({ minimum: 0 })),
  takenBack: Type.Optional(TakenBack),
  data: Type.Optional(Type.Unknown()),
});
const Outer = Compile(EnvelopeShape);

const validators = new WeakMap<object, Validator>();

function validatorOf(schema: Type.TSchema): Validator {
  let validator = validators.get(schema);
  if (validator === undefined) {
    validator = Compile(schema) as Validator;
    validators.set(schema, validator);
  }
  return validator;
}

function explain(validator: Validator, value: unknown): string {
  const first = validator.Errors(value)[0];
  return first === undefined ? "it does not match" : `field ${first.instancePath || "/"} ${first.message}`;
}

/**
 * The one place where outside data becomes ours: parses and checks, and names subject and field when it does not fit.
 * @throws BadRecordError
 */
export function decode<S extends Type.TSchema>(schema: S, value: unknown, subject: string): Type.Static<S> {
  const validator = validatorOf(schema);
  if (validator.Check(value)) return value as Type.Static<S>;
  throw new BadRecordError(`${subject}: ${explain(validator, value)}`);
}

/** @throws BadRecordError when the bytes are no JSON */
export function parseJson(bytes: Uint8Array, subject: string): unknown {
  try {
    return JSON.parse(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("utf8"));
  } catch (error) {
    throw new BadRecordError(`${subject}: not JSON`, { cause: error });
  }
}

/**
 * The envelope of a record, its data checked against `schema` unless it is a tombstone.
 * @throws BadRecordError
 */
export function decodeEnvelope<S extends Type.TSchema>(
  schema: S,
  bytes: Uint8Array,
  subject: string,
): Envelope<Type.Static<S>> {
  const outer = parseJson(bytes, subject);
  const version = typeof outer === "object" && outer !== null && "v" in outer ? outer.v : undefined;
  if (typeof version === "number" && version !== 1) {
    throw new BadRecordError(`${subject}: field /v is ${version}, known here is 1`, {
      reason: "unknown_version",
    });
  }
  if (!Outer.Check(outer)) throw new BadRecordError(`${subject}: ${explain(Outer as Validator, outer)}`);
  if (outer.deleted === true) return outer as Envelope<Type.Static<S>>;
  decode(schema, outer.data, subject);
  return outer as Envelope<Type.Static<S>>;
}

export function encodeEnvelope<T>(envelope: Envelope<T>): Uint8Array {
  return Buffer.from(JSON.stringify(envelope));
}
