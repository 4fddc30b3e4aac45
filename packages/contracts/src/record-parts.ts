import Type from "typebox";

// What records of several tables are made of.

export const Name = Type.String({ minLength: 1, maxLength: 253 });
export const PortNumber = Type.Integer({ minimum: 1, maximum: 65535 });
export const Protocol = Type.Union([Type.Literal("TCP"), Type.Literal("UDP"), Type.Literal("SCTP")]);
/** Milliseconds since 1970, with fractions. */
export const Instant = Type.Number({ minimum: 0 });
export const Cidrs = Type.Array(Type.String({ maxLength: 64 }), { maxItems: 10_000 });
