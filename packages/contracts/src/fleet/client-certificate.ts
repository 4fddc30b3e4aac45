import Type from "typebox";
import { SecretId } from "./secret.ts";

/** Whom a path answers, by the certificate that its client showed in the handshake. Its host says who has to have signed it. */
export const ClientCertificate = Type.Object({
  /**
   * on: nobody without one; optional: one that is shown has to be right; optional_no_ca: it may be signed by anybody,
   * and peers are told what was found.
   */
  verify: Type.Union([Type.Literal("on"), Type.Literal("optional"), Type.Literal("optional_no_ca")]),
  /** Where a client is sent (302) whose certificate will not do; absent: 400. */
  errorPage: Type.Optional(Type.String({ pattern: "^https?://[\\x21-\\x7e]+$", maxLength: 2048 })),
});
export type ClientCertificate = Type.Static<typeof ClientCertificate>;

/** What TLS clients of a host are asked for. */
export const HostClients = Type.Object({
  /** The Secret with the authorities. Where it is not there, paths that ask for a certificate answer 503. */
  authorities: SecretId,
  /** Certificates between a client's and an authority's, at most. */
  depth: Type.Integer({ minimum: 0, maximum: 100 }),
});
export type HostClients = Type.Static<typeof HostClients>;
