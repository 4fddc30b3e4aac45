// Certificates for tests: made in the process, gone with it.
import type { webcrypto } from "node:crypto";
// The certificates' library finds its parts by decorators that need this.
import "reflect-metadata";
import * as x509 from "@peculiar/x509";

type KeyKind = "ecdsa" | "rsa";

/** Whoever signs: an authority, or one below another. */
export interface TestAuthority {
  /** PEM. */
  readonly certificate: string;
  readonly name: string;
  readonly keys: webcrypto.CryptoKeyPair;
}

export interface TestCertificate {
  /** PEM: the leaf, then those between it and the authority. */
  readonly chain: string;
  /** PEM, PKCS#8. */
  readonly key: string;
  /** Hexadecimal, as node:tls shows it. */
  readonly serial: string;
}

const ecdsa = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };
const rsa = {
  name: "RSASSA-PKCS1-v1_5",
  hash: "SHA-256",
  modulusLength: 2048,
  publicExponent: new Uint8Array([1, 0, 1]),
};
const DAY_MS = 24 * 3_600_000;
const dates = { notBefore: new Date(Date.now() - DAY_MS), notAfter: new Date(Date.now() + DAY_MS) };

const made = (kind: KeyKind) =>
  crypto.subtle.generateKey(kind === "rsa" ? rsa : ecdsa, true, [
    "sign",
    "verify",
  ]) as Promise<webcrypto.CryptoKeyPair>;

let serials = 0x1000;

export async function testAuthority(name: string, above?: TestAuthority): Promise<TestAuthority> {
  const keys = await made("ecdsa");
  const certificate = await x509.X509CertificateGenerator.create({
    subject: `CN=${name}`,
    issuer: `CN=${above?.name ?? name}`,
    publicKey: keys.publicKey,
    signingKey: (above?.keys ?? keys).privateKey,
    signingAlgorithm: ecdsa,
    serialNumber: (serials++).toString(16),
    ...dates,
    extensions: [
      new x509.BasicConstraintsExtension(true, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
    ],
  });
  return { certificate: `${certificate.toString("pem")}\n`, name, keys };
}

/** For servers of these names, and for clients. */
export async function testCertificate(
  authority: TestAuthority,
  names: readonly string[],
  more: {
    readonly kind?: KeyKind;
    readonly subject?: string;
    readonly between?: readonly TestAuthority[];
    /** Default: since yesterday, until tomorrow. */
    readonly dates?: { readonly notBefore: Date; readonly notAfter: Date };
  } = {},
): Promise<TestCertificate> {
  const kind = more.kind ?? "ecdsa";
  const keys = await made(kind);
  const serial = (serials++).toString(16);
  const certificate = await x509.X509CertificateGenerator.create({
    subject: more.subject ?? `CN=${names[0] ?? "nobody"}`,
    issuer: `CN=${authority.name}`,
    publicKey: keys.publicKey,
    signingKey: authority.keys.privateKey,
    signingAlgorithm: ecdsa,
    serialNumber: serial,
    ...(more.dates ?? dates),
    extensions: [
      new x509.SubjectAlternativeNameExtension(names.map((value) => ({ type: "dns" as const, value }))),
      new x509.ExtendedKeyUsageExtension([
        x509.ExtendedKeyUsage.serverAuth,
        x509.ExtendedKeyUsage.clientAuth,
      ]),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
    ],
  });
  const key = await crypto.subtle.exportKey("pkcs8", keys.privateKey);
  return {
    chain: [`${certificate.toString("pem")}\n`, ...(more.between ?? []).map((each) => each.certificate)].join(
      "",
    ),
    key: `${x509.PemConverter.encode(key, "PRIVATE KEY")}\n`,
    serial,
  };
}
