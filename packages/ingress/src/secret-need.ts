import { type ObjectNameReading, readObjectName } from "./object-name.ts";
import { joinedId } from "./upstream-id.ts";

/**
 * What a Secret is used for. tls: a certificate with its key. users: htpasswd lines in `auth`. user-map: a password hash
 * under each user's name. authorities: who clients' certificates must come from, in `ca.crt`.
 */
export type SecretKind = "tls" | "users" | "user-map" | "authorities";

/** A Secret that a route cannot do without, and what for. */
export interface SecretNeed {
  readonly kind: SecretKind;
  readonly namespace: string;
  readonly name: string;
  /** What asks for it, for messages, e.g. `spec.tls[0].secretName`. */
  readonly field: string;
  /** Where the Secret has no certificate at all, nothing is missing. */
  readonly optional?: true;
}

/** Of the row in which proxies find it. */
export function secretId({ kind, namespace, name }: Pick<SecretNeed, "kind" | "namespace" | "name">): string {
  return joinedId([namespace, name, kind]);
}

/** `namespace/name` of the Secret. */
export function secretKey({ namespace, name }: Pick<SecretNeed, "namespace" | "name">): string {
  return `${namespace}/${name}`;
}

/** Of the object's namespace alone. */
export function readSecretName(text: string, namespace: string): ObjectNameReading {
  return readObjectName("Secret", text, namespace);
}
