import { createPrivateKey, type KeyObject, X509Certificate } from "node:crypto";
import { Confidential } from "@sluice/sealing";
import { pemBlocks } from "./pem.ts";

/** A certificate as TLS clients are shown it, with its key, in PEM that was written anew: no text of a user's is in it. */
export interface Certificate {
  /** The leaf first. */
  readonly chain: string;
  /** PKCS #8. */
  readonly key: Confidential<string>;
  /** Of the leaf, milliseconds since 1970. */
  readonly notBefore: number;
  readonly notAfter: number;
  /**
   * Whether clients that ask for the host take it; `*.x`: for any one label in the place of the star.
   * @param byName a common name counts where there are no alternative names at all
   */
  covers(host: string, byName: boolean): boolean;
}

export type Reading<T> =
  | { readonly ok: true; readonly value: T }
  /** Why not, without any of what was read. */
  | { readonly ok: false; readonly why: string };

/** Of a chain; public ones have two to four. */
const MAX_CHAIN = 20;
/** In PEM: clients of OpenSSL's refuse more in a handshake (SSL_CTX_set_max_cert_list), and so do proxies. */
const MAX_CHAIN_BYTES = 100 * 1024;
/** Of the authorities of one Secret. */
const MAX_AUTHORITIES = 200;
/** Below, OpenSSL's default security level refuses a handshake with it. */
const MIN_RSA_BITS = 2048;

const refused = (why: string): { readonly ok: false; readonly why: string } => ({ ok: false, why });

/** `tls.crt` and `tls.key` of a Secret. */
export function readCertificate(crt: string, key: string): Reading<Certificate> {
  const chain = certificatesOf("tls.crt", crt, MAX_CHAIN);
  if (!chain.ok) return chain;
  const [leaf] = chain.value;
  if (leaf === undefined) return refused("tls.crt holds no certificate");
  const privateKey = readKey(key);
  if (!privateKey.ok) return privateKey;
  if (!belongTogether(leaf, privateKey.value)) {
    return refused("tls.key is not the key of the first certificate in tls.crt");
  }
  const [notBefore, notAfter] = [Date.parse(leaf.validFrom), Date.parse(leaf.validTo)];
  if (!Number.isFinite(notBefore) || !Number.isFinite(notAfter) || notAfter < 0) {
    return refused("the first certificate in tls.crt does not say when it is valid");
  }
  const shown = chain.value.map((each) => each.toString()).join("");
  if (shown.length > MAX_CHAIN_BYTES) {
    return refused("tls.crt holds a chain of more than 100 KiB, which TLS clients refuse");
  }
  const pem = privateKey.value.export({ type: "pkcs8", format: "pem" }) as string;
  return {
    ok: true,
    value: {
      chain: shown,
      key: new Confidential(pem),
      notBefore,
      notAfter,
      covers: (host, byName) => covers(leaf, host, byName),
    },
  };
}

/** `ca.crt` of a Secret. @returns PEM */
export function readAuthorities(crt: string): Reading<string> {
  const found = certificatesOf("ca.crt", crt, MAX_AUTHORITIES);
  return found.ok ? { ok: true, value: found.value.map((each) => each.toString()).join("") } : found;
}

function certificatesOf(field: string, text: string, most: number): Reading<readonly X509Certificate[]> {
  const blocks = pemBlocks(text, most + 1).filter(({ label }) => label === "CERTIFICATE");
  if (blocks.length === 0) return refused(`${field} holds no certificate in PEM`);
  if (blocks.length > most) return refused(`${field} holds more than ${most} certificates`);
  const found: X509Certificate[] = [];
  for (const [n, { text: pem }] of blocks.entries()) {
    try {
      found.push(new X509Certificate(pem));
    } catch {
      return refused(`${field}: certificate ${n + 1} cannot be read`);
    }
  }
  return { ok: true, value: found };
}

function readKey(text: string): Reading<KeyObject> {
  const block = pemBlocks(text, MAX_CHAIN).find(({ label }) => label.endsWith("PRIVATE KEY"));
  if (block === undefined) return refused("tls.key holds no private key in PEM");
  if (block.label.startsWith("ENCRYPTED") || block.text.includes("Proc-Type: 4,ENCRYPTED")) {
    return refused("tls.key is encrypted; nobody here knows its passphrase");
  }
  let key: KeyObject;
  try {
    key = createPrivateKey({ key: block.text, format: "pem" });
  } catch {
    // Without a cause: nobody knows what it would quote.
    return refused("tls.key cannot be read");
  }
  const { asymmetricKeyType: type, asymmetricKeyDetails: details } = key;
  if (type !== "rsa" && type !== "ec" && type !== "ed25519") {
    return refused("tls.key is of a kind that TLS servers do not use; make one of RSA or ECDSA");
  }
  if (type === "rsa" && (details?.modulusLength ?? 0) < MIN_RSA_BITS) {
    return refused(`tls.key has ${details?.modulusLength} bits; clients want ${MIN_RSA_BITS} at least`);
  }
  return { ok: true, value: key };
}

function belongTogether(leaf: X509Certificate, key: KeyObject): boolean {
  try {
    return leaf.checkPrivateKey(key);
  } catch {
    return false;
  }
}

function covers(leaf: X509Certificate, host: string, byName: boolean): boolean {
  const subject = byName ? "default" : "never";
  try {
    if (!host.startsWith("*."))
      return leaf.checkHost(host, { subject, partialWildcards: false }) !== undefined;
    // checkHost takes names of hosts, and a star is in none.
    return namesOf(leaf, byName).includes(host);
  } catch {
    return false;
  }
}

function namesOf(leaf: X509Certificate, byName: boolean): string[] {
  // What could be read in two ways stands in quotes, and is no name of a host.
  const alternative = (leaf.subjectAltName ?? "").replaceAll(/"(?:[^"\\]|\\.)*"/g, "");
  const names = [...alternative.matchAll(/(?:^|, )DNS:([^,\s]+)/g)].map(([, name = ""]) =>
    name.toLowerCase(),
  );
  if (names.length > 0 || !byName) return names;
  return [...(leaf.subject ?? "").matchAll(/^CN=(\S+)$/gm)].map(([, name = ""]) => name.toLowerCase());
}
