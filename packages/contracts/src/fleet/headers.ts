import Type from "typebox";

const HeaderText = Type.String({ pattern: "^[\\x20-\\x7e]+$", maxLength: 2048 });

/** Which pages of other origins may read answers (CORS). */
export const Cors = Type.Object({
  /** In lower case; `*` stands for one label. Absent: every origin. */
  origins: Type.Optional(
    Type.Array(
      Type.String({ pattern: "^(null|[a-z]+://(\\*\\.)?[a-z0-9.-]*(:[0-9]{1,5})?)$", maxLength: 300 }),
      {
        maxItems: 64,
      },
    ),
  ),
  methods: HeaderText,
  headers: HeaderText,
  expose: Type.Optional(HeaderText),
  /** Seconds that a browser may remember the answer to its preflight request. */
  maxAge: Type.Integer({ minimum: 0 }),
  /** Cookies and the like may come along. */
  credentials: Type.Optional(Type.Literal(true)),
});
export type Cors = Type.Static<typeof Cors>;

/** Headers of answers, in place of what the peer says under their names. */
export const AnswerHeaders = Type.Array(
  Type.Object({
    name: Type.String({ pattern: "^[A-Za-z0-9-]+$", maxLength: 128 }),
    value: Type.String({ pattern: "^[\\x20-\\x7e]*$", maxLength: 4096 }),
  }),
  { maxItems: 64 },
);
export type AnswerHeaders = Type.Static<typeof AnswerHeaders>;

/** What becomes of an attribute of the cookies that peers set: one value, or the beginning of one, for another. */
const CookieChange = Type.Object({
  from: Type.String({ pattern: "^[\\x21-\\x3a\\x3c-\\x7e]+$", maxLength: 1024 }),
  to: Type.String({ pattern: "^[\\x21-\\x3a\\x3c-\\x7e]+$", maxLength: 1024 }),
});

export const CookieChanges = Type.Object({
  /** Compared whole, without case, and without a leading dot. */
  domain: Type.Optional(CookieChange),
  /** `from` is what the path begins with. */
  path: Type.Optional(CookieChange),
});
export type CookieChanges = Type.Static<typeof CookieChanges>;

/** Answers of peers, by status, that the spare upstream answers instead; without one they are answered bare. */
export const ErrorPages = Type.Object({
  codes: Type.Array(Type.Integer({ minimum: 400, maximum: 599 }), { minItems: 1, maxItems: 64 }),
  /** Of the backend, as its object says it: the spare upstream is told. */
  port: Type.Optional(Type.String({ pattern: "^[0-9A-Za-z-]{1,63}$" })),
});
export type ErrorPages = Type.Static<typeof ErrorPages>;
