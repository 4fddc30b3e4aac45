import Type from "typebox";
import { Cidrs } from "../record-parts.ts";

/** A leaky bucket: it empties at `requests` per `seconds`, and takes `burst` more than one. */
export const Rate = Type.Object({
  requests: Type.Integer({ minimum: 1 }),
  seconds: Type.Integer({ minimum: 1 }),
  burst: Type.Integer({ minimum: 0 }),
});
export type Rate = Type.Static<typeof Rate>;

/** How often one client address may come, and how much it gets. */
export const Limits = Type.Object({
  /** Paths of one name share their counters: `<namespace>/<name>` of the object. */
  of: Type.String({ minLength: 1, maxLength: 512 }),
  rates: Type.Optional(Type.Array(Rate, { minItems: 1, maxItems: 4 })),
  /** Requests at one time. */
  connections: Type.Optional(Type.Integer({ minimum: 1 })),
  /** Addresses that neither rates nor connections hold for. */
  except: Type.Optional(Cidrs),
  /** Bytes per second of one answer; and how many of its bytes are free of it. */
  bytesPerSecond: Type.Optional(Type.Integer({ minimum: 1 })),
  freeBytes: Type.Optional(Type.Integer({ minimum: 1 })),
});
export type Limits = Type.Static<typeof Limits>;
