import Type from "typebox";
import { Name } from "../record-parts.ts";
import { Balance } from "./balance.ts";

/**
 * Another upstream of a path, and which requests go there. A session decides first (`sticky`), then `header`, then
 * `cookie`, then `weight`; where nothing decides, and while that upstream has no peers, the path's own has them.
 */
export const Canary = Type.Object({
  upstream: Type.String({ pattern: "^[0-9a-z-]{1,128}$" }),
  header: Type.Optional(
    Type.Object({
      /** In lower case, with _ for -. */
      name: Type.String({ pattern: "^[a-z0-9_]{1,128}$" }),
      /** Requests whose header says this. Without it and `pattern`: `always` goes there, `never` does not. */
      value: Type.Optional(Type.String({ minLength: 1, maxLength: 1024 })),
      /** A regular expression (PCRE) that is found in it. */
      pattern: Type.Optional(Type.String({ minLength: 1, maxLength: 2048 })),
    }),
  ),
  /** Name of a cookie that says `always` or `never`. */
  cookie: Type.Optional(Type.String({ pattern: "^[A-Za-z0-9_.-]{1,128}$" })),
  /** So many of `of` requests, by chance. Absent: none. */
  weight: Type.Optional(Type.Integer({ minimum: 0, maximum: 1_000_000 })),
  /** Absent: 100. */
  of: Type.Optional(Type.Integer({ minimum: 1, maximum: 1_000_000 })),
  /** How its peers are chosen; a path that is `sticky` and balanced by a cookie has its own cookie do it. */
  balance: Type.Optional(Balance),
  /** A session of the path's cookie stays on the side on which it began. */
  sticky: Type.Optional(Type.Literal(true)),
  /** The object that asked for it, for people. */
  source: Type.Optional(Type.Object({ kind: Type.String(), namespace: Name, name: Name })),
});
export type Canary = Type.Static<typeof Canary>;
