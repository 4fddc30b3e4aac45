import Type from "typebox";
import { Name } from "../record-parts.ts";
import { HostClients } from "./client-certificate.ts";
import { PathPolicy } from "./policy.ts";
import { Redirect } from "./redirect.ts";
import { SecretId } from "./secret.ts";

export const RoutePath = Type.Object({
  /** Exact: the whole path. Prefix: by path element, trailing slash ignored (Ingress v1). */
  type: Type.Union([Type.Literal("Exact"), Type.Literal("Prefix")]),
  path: Type.String({ pattern: "^/" }),
  /**
   * `path` is a regular expression (PCRE, without case) that a path must begin with. After paths that match literally
   * and are Exact, before those that are a Prefix; the first in the list that matches counts.
   */
  regex: Type.Optional(Type.Literal(true)),
  /** Where to; null: answer `redirect`, else 503, and `problem` says why. */
  upstream: Type.Union([Type.String(), Type.Null()]),
  /** Upstream that is asked while the first one is null or has no peers. */
  spare: Type.Optional(Type.String()),
  profile: Type.String(),
  redirect: Type.Optional(Redirect),
  ...PathPolicy.properties,
  problem: Type.Optional(Type.String()),
  /** The object that asked for it. */
  source: Type.Object({ kind: Type.String(), namespace: Name, name: Name }),
  /** The service that `upstream` stands for, as it is told to people. */
  service: Type.Optional(Name),
});
export type RoutePath = Type.Static<typeof RoutePath>;

/** `fleet`, key `<fleet>.routes.<host>`: all paths of one host. */
export const RouteRow = Type.Object({
  /** Lower case; `*.x` for a wildcard; `""` for the default. */
  host: Type.String(),
  paths: Type.Array(RoutePath, { maxItems: 10_000 }),
  /** Secret whose certificate TLS clients of this host are shown; absent: the fleet's default one. */
  certificate: Type.Optional(SecretId),
  /** Absent: its clients are not asked for certificates. */
  clients: Type.Optional(HostClients),
});
export type RouteRow = Type.Static<typeof RouteRow>;
