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

export type SecretNameReading =
  | { readonly ok: true; readonly namespace: string; readonly name: string }
  | { readonly ok: false; readonly why: string };

const NAME = /^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$/;

/**
 * `name`, or `namespace/name` as ingress-nginx's annotations write it. A Secret of another namespace is refused: whoever
 * may write an object in one namespace must not show, or be let in by, what lies in another.
 */
export function readSecretName(text: string, namespace: string): SecretNameReading {
  const [first = "", second, ...rest] = text.trim().split("/");
  const [given, name] = second === undefined ? [namespace, first] : [first, second];
  if (rest.length > 0 || !NAME.test(name)) return { ok: false, why: "is no name of a Secret" };
  if (given !== namespace) {
    return {
      ok: false,
      why: `names a Secret of another namespace, which is not allowed; copy it to namespace ${namespace}`,
    };
  }
  return { ok: true, namespace, name };
}
