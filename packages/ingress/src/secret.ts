import type { SealedContents } from "@sluice/contracts";
import { Confidential } from "@sluice/sealing";
import { type Certificate, type Reading, readAuthorities, readCertificate } from "./certificate.ts";
import { fieldsOf, type KubeObject, keyOf } from "./objects.ts";
import type { SecretKind } from "./secret-need.ts";

/** v1 */
export interface Secret extends KubeObject {
  readonly type?: string;
  /** Values in base64. */
  readonly data?: unknown;
}

/** What proxies need of a Secret for one use. */
export interface SecretContents {
  /** PEM. */
  readonly chain?: string;
  /** Of the chain's leaf, milliseconds since 1970. */
  readonly notAfter?: number;
  /** PEM. */
  readonly authorities?: string;
  readonly sealed?: Confidential<SealedContents>;
  /** `<uid>/<resourceVersion>` of the Secret. */
  readonly version: string;
}

/** As much as a row may hold; a record of a megabyte is more than a bus takes. */
const MAX_BYTES = 500_000;
const MAX_USERS = 10_000;

/** A Secret of the hub, read once for each use that somebody makes of it. */
export class ReadSecret {
  /** `namespace/name` */
  readonly key: string;
  readonly #data: Readonly<Record<string, unknown>>;
  readonly #version: string;
  readonly #contents = new Map<SecretKind, Reading<SecretContents>>();
  #certificate: Reading<Certificate> | undefined;

  constructor(secret: Secret) {
    this.key = keyOf(secret);
    this.#data = fieldsOf(secret.data) ?? {};
    const { uid = "", resourceVersion = "" } = secret.metadata;
    this.#version = `${uid}/${resourceVersion}`.slice(0, 128);
  }

  /** A certificate or its key, well or not. */
  get hasCertificate(): boolean {
    return this.#data["tls.crt"] !== undefined || this.#data["tls.key"] !== undefined;
  }

  get certificate(): Reading<Certificate> {
    this.#certificate ??= this.#readCertificate();
    return this.#certificate;
  }

  contents(kind: SecretKind): Reading<SecretContents> {
    let found = this.#contents.get(kind);
    if (found === undefined) {
      found = this.#read(kind);
      this.#contents.set(kind, found);
    }
    return found;
  }

  #read(kind: SecretKind): Reading<SecretContents> {
    const version = this.#version;
    if (kind === "tls") {
      const { certificate } = this;
      if (!certificate.ok) return certificate;
      const { chain, notAfter, key } = certificate.value;
      return {
        ok: true,
        value: { chain, notAfter, sealed: new Confidential({ key: key.reveal() }), version },
      };
    }
    if (kind === "authorities") {
      if (this.#data["ca.crl"] !== undefined) {
        return { ok: false, why: "ca.crl is there, and what it revokes would be let in; take it away" };
      }
      const crt = this.#text("ca.crt");
      if (!crt.ok) return crt;
      const authorities = readAuthorities(crt.value);
      if (!authorities.ok) return authorities;
      if (authorities.value.length > MAX_BYTES) return tooLarge("ca.crt");
      return { ok: true, value: { authorities: authorities.value, version } };
    }
    const users = kind === "users" ? this.#htpasswd() : this.#userMap();
    return users.ok
      ? { ok: true, value: { sealed: new Confidential({ users: users.value }), version } }
      : users;
  }

  #readCertificate(): Reading<Certificate> {
    const crt = this.#text("tls.crt");
    if (!crt.ok) return crt;
    const key = this.#text("tls.key");
    return key.ok ? readCertificate(crt.value, key.value) : key;
  }

  /** Lines `user:hash`; of one user the first counts, as in nginx's auth_basic. */
  #htpasswd(): Reading<Record<string, string>> {
    const text = this.#text("auth");
    if (!text.ok) return text;
    const users = new Map<string, string>();
    for (const line of text.value.split("\n")) {
      const [user = "", hash = ""] = line.trim().split(":");
      if (user.startsWith("#") || !isUser(user, hash) || users.has(user)) continue;
      users.set(user, hash);
      if (users.size > MAX_USERS) return { ok: false, why: `auth holds more than ${MAX_USERS} users` };
    }
    return { ok: true, value: Object.fromEntries(users) };
  }

  #userMap(): Reading<Record<string, string>> {
    const users: [string, string][] = [];
    let bytes = 0;
    for (const user of Object.keys(this.#data)) {
      const hash = this.#text(user);
      if (!hash.ok) return hash;
      bytes += hash.value.length;
      if (isUser(user, hash.value.trim())) users.push([user, hash.value.trim()]);
      if (bytes > MAX_BYTES || users.length > MAX_USERS) {
        return { ok: false, why: `it holds more than ${MAX_USERS} users or ${MAX_BYTES / 1000} kB` };
      }
    }
    return { ok: true, value: Object.fromEntries(users) };
  }

  #text(field: string): Reading<string> {
    const value = this.#data[field];
    if (typeof value !== "string" || value === "") return { ok: false, why: `it has no ${field}` };
    // Base64 has four characters for three bytes.
    if (value.length > (MAX_BYTES * 4) / 3 + 4) return tooLarge(field);
    return { ok: true, value: Buffer.from(value, "base64").toString("utf8") };
  }
}

function tooLarge(field: string): { readonly ok: false; readonly why: string } {
  return { ok: false, why: `its ${field} is larger than ${MAX_BYTES / 1000} kB` };
}

/** Whoever is none is not let in: half of a character (Cs) is none either, and no client could send it. */
function isUser(user: string, hash: string): boolean {
  return /^[^\p{Cc}\p{Cs}:]{1,256}$/u.test(user) && /^[\x21-\x7e]{1,512}$/.test(hash);
}
