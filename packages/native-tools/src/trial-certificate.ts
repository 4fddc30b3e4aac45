import type { webcrypto } from "node:crypto";
// The certificates' library finds its parts by decorators that need this.
import "reflect-metadata";
import * as x509 from "@peculiar/x509";

const kinds = {
  ecdsa: { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" },
  rsa: {
    name: "RSASSA-PKCS1-v1_5",
    modulusLength: 2048,
    publicExponent: new Uint8Array([1, 0, 1]),
    hash: "SHA-256",
  },
} as const;

const DAY_MS = 24 * 3_600_000;

export interface TrialCertificateOptions {
  /** DNS names that it is for. */
  readonly names: readonly string[];
  /** IP addresses that it is for. */
  readonly addresses?: readonly string[];
  readonly commonName?: string;
  /** Default: ecdsa. */
  readonly kind?: keyof typeof kinds;
  /** Bits of an RSA key; default 2048. */
  readonly bits?: number;
  /** Default: a day ago, and in thirty days. */
  readonly notBefore?: Date;
  readonly notAfter?: Date;
  /** Who signs it; default: itself. */
  readonly issuer?: TrialAuthority;
}

/** In PEM. */
export interface TrialCertificate {
  readonly cert: string;
  /** PKCS #8. */
  readonly key: string;
}

export interface TrialAuthority extends TrialCertificate {
  readonly keys: webcrypto.CryptoKeyPair;
}

async function keysOf({ kind = "ecdsa", bits }: Pick<TrialCertificateOptions, "kind" | "bits">) {
  const algorithm = bits === undefined ? kinds[kind] : { ...kinds[kind], modulusLength: bits };
  const keys = (await crypto.subtle.generateKey(algorithm, true, [
    "sign",
    "verify",
  ])) as webcrypto.CryptoKeyPair;
  const pkcs8 = await crypto.subtle.exportKey("pkcs8", keys.privateKey);
  return { keys, algorithm, key: `${x509.PemConverter.encode(pkcs8, "PRIVATE KEY")}\n` };
}

/** A certificate for a server of trials and tests. */
export async function trialCertificate(options: TrialCertificateOptions): Promise<TrialCertificate> {
  const { names, addresses = [], commonName = "sluice trial", issuer } = options;
  const alternatives = [
    ...names.map((value) => ({ type: "dns" as const, value })),
    ...addresses.map((value) => ({ type: "ip" as const, value })),
  ];
  const { keys, algorithm, key } = await keysOf(options);
  const cert = await x509.X509CertificateGenerator.create({
    subject: `CN=${commonName}`,
    issuer: issuer === undefined ? `CN=${commonName}` : new x509.X509Certificate(issuer.cert).subject,
    publicKey: keys.publicKey,
    signingKey: (issuer?.keys ?? keys).privateKey,
    signingAlgorithm: issuer === undefined ? algorithm : kinds.ecdsa,
    notBefore: options.notBefore ?? new Date(Date.now() - DAY_MS),
    notAfter: options.notAfter ?? new Date(Date.now() + 30 * DAY_MS),
    extensions: [
      ...(alternatives.length === 0 ? [] : [new x509.SubjectAlternativeNameExtension(alternatives)]),
      new x509.ExtendedKeyUsageExtension([
        x509.ExtendedKeyUsage.serverAuth,
        x509.ExtendedKeyUsage.clientAuth,
      ]),
    ],
  });
  return { cert: `${cert.toString("pem")}\n`, key };
}

/** Who signs certificates of trials and tests. */
export async function trialAuthority(commonName = "sluice trial authority"): Promise<TrialAuthority> {
  const { keys, key } = await keysOf({});
  const cert = await x509.X509CertificateGenerator.createSelfSigned({
    name: `CN=${commonName}`,
    keys,
    signingAlgorithm: kinds.ecdsa,
    notBefore: new Date(Date.now() - DAY_MS),
    notAfter: new Date(Date.now() + 30 * DAY_MS),
    extensions: [
      new x509.BasicConstraintsExtension(true, 0, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
    ],
  });
  return { cert: `${cert.toString("pem")}\n`, key, keys };
}
