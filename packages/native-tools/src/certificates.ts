import type { webcrypto } from "node:crypto";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
// The certificates' library finds its parts by decorators that need this.
import "reflect-metadata";
import * as x509 from "@peculiar/x509";

/** Files in PEM: a certificate for servers on loopback, its key, and who signed it. */
export interface CertificateFiles {
  readonly ca: string;
  readonly cert: string;
  readonly key: string;
}

const DAY_MS = 24 * 3_600_000;
const keyKind = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };

/**
 * Makes a certificate for servers on loopback and for clients, signed by an authority of its own whose key is thrown
 * away. For trials and tests: it ends after 30 days.
 */
export async function writeCertificates(folder: string): Promise<CertificateFiles> {
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const notBefore = new Date(Date.now() - DAY_MS);
  const notAfter = new Date(Date.now() + 30 * DAY_MS);
  const [authority, server] = await Promise.all(
    [0, 1].map(
      () => crypto.subtle.generateKey(keyKind, true, ["sign", "verify"]) as Promise<webcrypto.CryptoKeyPair>,
    ),
  );
  if (authority === undefined || server === undefined) throw new Error("no keys were made");
  const ca = await x509.X509CertificateGenerator.createSelfSigned({
    name: "CN=sluice trial authority",
    keys: authority,
    signingAlgorithm: keyKind,
    notBefore,
    notAfter,
    extensions: [
      new x509.BasicConstraintsExtension(true, 0, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
    ],
  });
  const cert = await x509.X509CertificateGenerator.create({
    subject: "CN=sluice trial bus",
    issuer: ca.subject,
    publicKey: server.publicKey,
    signingKey: authority.privateKey,
    signingAlgorithm: keyKind,
    notBefore,
    notAfter,
    extensions: [
      new x509.SubjectAlternativeNameExtension([
        { type: "ip", value: "127.0.0.1" },
        { type: "dns", value: "localhost" },
      ]),
      // Servers of a cluster call each other.
      new x509.ExtendedKeyUsageExtension([
        x509.ExtendedKeyUsage.serverAuth,
        x509.ExtendedKeyUsage.clientAuth,
      ]),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
    ],
  });
  const key = await crypto.subtle.exportKey("pkcs8", server.privateKey);
  const files = { ca: join(folder, "ca.pem"), cert: join(folder, "cert.pem"), key: join(folder, "key.pem") };
  await Promise.all([
    writeFile(files.ca, `${ca.toString("pem")}\n`, { mode: 0o600 }),
    writeFile(files.cert, `${cert.toString("pem")}\n`, { mode: 0o600 }),
    writeFile(files.key, `${x509.PemConverter.encode(key, "PRIVATE KEY")}\n`, { mode: 0o600 }),
  ]);
  return files;
}
