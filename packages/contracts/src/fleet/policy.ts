import Type from "typebox";
import { Access, AuthRequest } from "./access.ts";
import { Balance } from "./balance.ts";
import { Canary } from "./canary.ts";
import { ClientCertificate } from "./client-certificate.ts";
import { AnswerHeaders, CookieChanges, Cors, ErrorPages } from "./headers.ts";
import { Limits } from "./limits.ts";
import { Mirror } from "./mirror.ts";

/** What a path does with its requests, beside leading them somewhere. Nothing of it holds where a redirect answers. */
export const PathPolicy = Type.Object({
  access: Type.Optional(Access),
  auth: Type.Optional(AuthRequest),
  limits: Type.Optional(Limits),
  balance: Type.Optional(Balance),
  /** How long a peer's first byte is waited for before another one is asked; 0: for ever. Absent: as the proxy has it for all. */
  firstByteMs: Type.Optional(Type.Integer({ minimum: 0, maximum: 3_600_000 })),
  canary: Type.Optional(Canary),
  /**
   * What peers are asked for instead of the path that came; `$1` to `$9`: what the groups of `path` caught. Behind ? a
   * query, to which the one that came is added, unless there is nothing behind ?.
   */
  rewrite: Type.Optional(Type.String({ pattern: "^[/$][\\x21-\\x7e]*$", maxLength: 2048 })),
  /** The Host that peers see. */
  vhost: Type.Optional(Type.String({ pattern: "^[0-9A-Za-z._:\\[\\]-]+$", maxLength: 259 })),
  /** X-Forwarded-Prefix for peers, with `$1` to `$9` as in `rewrite`. */
  forwardedPrefix: Type.Optional(Type.String({ pattern: "^[\\x21-\\x7e]+$", maxLength: 2048 })),
  /** A request that came in clear is sent to the same URL by https (308). */
  httpsOnly: Type.Optional(Type.Literal(true)),
  clientCertificate: Type.Optional(ClientCertificate),
  cors: Type.Optional(Cors),
  cookies: Type.Optional(CookieChanges),
  answerHeaders: Type.Optional(AnswerHeaders),
  errors: Type.Optional(ErrorPages),
  mirror: Type.Optional(Mirror),
  /** Its requests do not stand in the access log. */
  unlogged: Type.Optional(Type.Literal(true)),
});
export type PathPolicy = Type.Static<typeof PathPolicy>;
