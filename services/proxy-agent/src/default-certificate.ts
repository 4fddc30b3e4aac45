import { X509Certificate } from "node:crypto";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
// The certificates' library finds its parts by decorators that need this.
import "reflect-metadata";
import * as x509 from "@peculiar/x509";
import { replaceFile } from "./private-file.ts";

/** Files in PEM. */
export interface CertificatePair {
  readonly certificate: string;
  readonly key: string;
}

const DAY_MS = 24 * 3_600_000;
const LIFE_DAYS = 3650;
const RENEW_DAYS = 365;
const keyKind = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };

export function defaultCertificateOf(dir: string): CertificatePair {
  return { certificate: join(dir, "default-certificate.pem"), key: join(dir, "default-key.pem") };
}

async function endsAt(path: string): Promise<number> {
  try {
    return new X509Certificate(await readFile(path)).validToDate.getTime();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return 0;
    throw error;
  }
}

/**
 * A certificate that nobody trusts, for clients that ask for no host or for one without a certificate: nginx wants one
 * to listen with. Made once per folder.
 */
export async function ensureDefaultCertificate(dir: string): Promise<void> {
  const files = defaultCertificateOf(dir);
  const now = Date.now();
  if ((await endsAt(files.certificate)) > now + RENEW_DAYS * DAY_MS) return;
  const keys = await crypto.subtle.generateKey(keyKind, true, ["sign", "verify"]);
  const made = await x509.X509CertificateGenerator.createSelfSigned({
    name: "CN=Sluice default certificate",
    keys,
    signingAlgorithm: keyKind,
    notBefore: new Date(now - DAY_MS),
    notAfter: new Date(now + LIFE_DAYS * DAY_MS),
    extensions: [
      new x509.SubjectAlternativeNameExtension([{ type: "dns", value: "ingress.local" }]),
      new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.serverAuth]),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
    ],
  });
  const key = await crypto.subtle.exportKey("pkcs8", keys.privateKey);
  // The key first: a certificate that is there has its key.
  await replaceFile(files.key, `${x509.PemConverter.encode(key, "PRIVATE KEY")}\n`);
  await replaceFile(files.certificate, `${made.toString("pem")}\n`);
}
