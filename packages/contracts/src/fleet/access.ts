import Type from "typebox";
import { Cidrs, PortNumber } from "../record-parts.ts";
import { HashPart } from "./balance.ts";
import { SecretId } from "./secret.ts";

/** Text with what nginx knows of the request in it. */
export const Template = Type.Array(HashPart, { maxItems: 64 });
export type Template = Type.Static<typeof Template>;

/** HTTP basic authentication (RFC 7617). */
export const UsersAccess = Type.Object({
  /** Secret that holds the users. */
  secret: SecretId,
  /** Printable ASCII without quotes. */
  realm: Type.String({ pattern: "^[\\x20\\x21\\x23-\\x5b\\x5d-\\x7e]*$", maxLength: 256 }),
});
export type UsersAccess = Type.Static<typeof UsersAccess>;

/** Who may come in, by address and by password. An address that is denied is not asked whether it is allowed. */
export const Access = Type.Object({
  allow: Type.Optional(Cidrs),
  deny: Type.Optional(Cidrs),
  users: Type.Optional(UsersAccess),
  /** One of address, password and AuthRequest is enough. Absent: all of those that are there. */
  any: Type.Optional(Type.Literal(true)),
});
export type Access = Type.Static<typeof Access>;

/** A service outside of the fleet's upstreams that gets requests made of a client's. */
export const AskedService = Type.Object({
  /** https; the service's certificate is not verified. */
  secure: Type.Optional(Type.Literal(true)),
  /** A DNS name, or an IP address without brackets. */
  host: Type.String({ pattern: "^[0-9A-Za-z._:-]+$", maxLength: 253 }),
  port: PortNumber,
  /** Path and query. */
  target: Template,
});
export type AskedService = Type.Static<typeof AskedService>;

const HEADER_NAME = "^[A-Za-z0-9_-]{1,128}$";

/** A service that is asked of each request: 2xx lets it in, 401 and 403 go to the client, all else is 500. */
export const AuthRequest = Type.Object({
  ...AskedService.properties,
  method: Type.String({ pattern: "^[A-Z]{1,16}$" }),
  /** Where clients go that are not signed in (302 in place of 401). */
  signin: Type.Optional(Template),
  /** X-Auth-Request-Redirect; absent: path and query as they came. */
  redirect: Type.Optional(Template),
  /** Headers of its answer that the peer gets; what a client says under these names is taken away. */
  headers: Type.Optional(Type.Array(Type.String({ pattern: HEADER_NAME }), { maxItems: 64 })),
  /** Its cookies go to the client whatever the status of the answer is; absent: with good ones and redirects. */
  alwaysSetCookie: Type.Optional(Type.Literal(true)),
});
export type AuthRequest = Type.Static<typeof AuthRequest>;
