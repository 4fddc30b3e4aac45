import Type from "typebox";
import { Instant, Name } from "../record-parts.ts";

/**
 * Names a Secret and what it is used for among those of its fleet: `<namespace>-<name>-<use>`, with a hash where that could
 * mean two things or is too long. Uses: `tls`, `users`, `user-map`, `authorities`.
 */
export const SecretId = Type.String({ pattern: "^[0-9a-z-]{1,128}$" });

/** A text that only the proxies of one fleet can read (HPKE, RFC 9180; fleet and id are bound as `info`). */
export const Sealed = Type.Object({
  /** Which of the fleet's keys it is sealed for: the key's JWK thumbprint (RFC 7638). */
  key: Type.String({ pattern: "^[A-Za-z0-9_-]{43}$" }),
  /** The encapsulated key, then the ciphertext; base64. */
  box: Type.String({ pattern: "^[A-Za-z0-9+/]+=*$", maxLength: 1_000_000 }),
});
export type Sealed = Type.Static<typeof Sealed>;

/** `fleet`, key `<fleet>.secrets.<id>`: what proxies need of one Secret of the hub for one use. What is public of it stands in clear. */
export const SecretRow = Type.Object({
  id: SecretId,
  namespace: Name,
  name: Name,
  /** PEM, the leaf first: the chain that is shown to TLS clients. Its private key is what is sealed. */
  chain: Type.Optional(Type.String({ maxLength: 500_000 })),
  /** Of the leaf. */
  notAfter: Type.Optional(Instant),
  /** PEM: certificate authorities that clients' (or backends') certificates must come from. */
  authorities: Type.Optional(Type.String({ maxLength: 500_000 })),
  /** JSON of a SealedContents. Absent: nothing of it is secret. */
  sealed: Type.Optional(Sealed),
  /**
   * What of the hub was sealed: `<uid>/<resourceVersion>` of the Secret. Each sealing gives another text; by this whoever
   * writes the fleet next sees that it need not seal again.
   */
  version: Type.Optional(Type.String({ maxLength: 128 })),
});
export type SecretRow = Type.Static<typeof SecretRow>;

/** What is inside of `sealed`. */
export const SealedContents = Type.Object({
  /** PEM: the private key of `chain`. */
  key: Type.Optional(Type.String()),
  /** Password hashes by user name, as htpasswd writes them. */
  users: Type.Optional(Type.Record(Type.String(), Type.String())),
});
export type SealedContents = Type.Static<typeof SealedContents>;
