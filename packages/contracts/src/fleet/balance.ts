import Type from "typebox";

/** Part of the text that requests are hashed by: as it stands, or what an nginx variable says of the request. */
export const HashPart = Type.Union([
  Type.Object({ text: Type.String({ maxLength: 1024 }) }),
  Type.Object({ variable: Type.String({ pattern: "^[a-z][a-z0-9_]{0,127}$" }) }),
]);
export type HashPart = Type.Static<typeof HashPart>;

/** The cookie by which a session stays with its peer. Ages in seconds. */
export const SessionCookie = Type.Object({
  name: Type.String({ pattern: "^[A-Za-z0-9_.-]{1,128}$" }),
  path: Type.String({ pattern: "^[\\x21-\\x3a\\x3c-\\x7e]+$", maxLength: 4096 }),
  /** Sessions stay as long as their peer is there; without it a new peer takes its share of them. */
  persistent: Type.Optional(Type.Literal(true)),
  /** A session leaves a peer that fails for good, not only until it answers again. */
  changeOnFailure: Type.Optional(Type.Literal(true)),
  maxAge: Type.Optional(Type.Integer({ minimum: 0 })),
  expires: Type.Optional(Type.Integer({ minimum: 0 })),
  domain: Type.Optional(Type.String({ pattern: "^[A-Za-z0-9.-]+$", maxLength: 255 })),
  sameSite: Type.Optional(Type.Union([Type.Literal("None"), Type.Literal("Lax"), Type.Literal("Strict")])),
  /** Absent: where the request came over TLS. */
  secure: Type.Optional(Type.Boolean()),
});
export type SessionCookie = Type.Static<typeof SessionCookie>;

/** How peers are chosen where it is not by taking turns. A method that a reader does not know means taking turns. */
export const Balance = Type.Object({
  /** `ewma`, `least_conn`, `hash` (with `by`) or `cookie` (with `cookie`). */
  method: Type.String({ pattern: "^[a-z_]{1,32}$" }),
  by: Type.Optional(Type.Array(HashPart, { minItems: 1, maxItems: 32 })),
  cookie: Type.Optional(SessionCookie),
});
export type Balance = Type.Static<typeof Balance>;
