import Type from "typebox";
import { IntentRecord } from "./records.ts";

// What `/api/v1/intents` takes and answers.

export const orderVerbs = ["drain", "unjoin", "accept-list"] as const satisfies IntentRecord["verb"][];

/** One line: it is printed in other people's terminals. */
const ONE_LINE = "^[^\\u0000-\\u001f\\u007f-\\u009f]*$";
const Text = { minLength: 1, maxLength: 253, pattern: ONE_LINE };

/** `POST /api/v1/intents`. */
export const OrderRequest = Type.Object(
  {
    verb: IntentRecord.properties.verb,
    cluster: Type.String(Text),
    by: Type.String(Text),
    reason: Type.Optional(Type.String({ ...Text, maxLength: 1024 })),
    force: Type.Optional(Type.Literal(true)),
  },
  { additionalProperties: false },
);
export type OrderRequest = Type.Static<typeof OrderRequest>;

/** Of a POST the order that stands now; of a DELETE the one that stood, null when there was none. */
export const OrderAnswer = Type.Object({ intent: Type.Union([IntentRecord, Type.Null()]) });
export type OrderAnswer = Type.Static<typeof OrderAnswer>;

/** Any answer but 200. */
export const ApiProblem = Type.Object({
  statusCode: Type.Integer(),
  message: Type.String(),
  /** Code of docs/reference/errors.md. */
  code: Type.Optional(Type.String()),
});
export type ApiProblem = Type.Static<typeof ApiProblem>;
