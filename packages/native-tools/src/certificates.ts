import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { trialAuthority, trialCertificate } from "./trial-certificate.ts";

/** Files in PEM: a certificate for servers on loopback, its key, and who signed it. */
export interface CertificateFiles {
  readonly ca: string;
  readonly cert: string;
  readonly key: string;
}

/**
 * Makes a certificate for servers on loopback and for clients, signed by an authority of its own whose key is thrown
 * away. For trials and tests: it ends after 30 days.
 */
export async function writeCertificates(folder: string): Promise<CertificateFiles> {
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const issuer = await trialAuthority();
  const { cert, key } = await trialCertificate({
    names: ["localhost"],
    addresses: ["127.0.0.1"],
    commonName: "sluice trial bus",
    issuer,
  });
  const files = { ca: join(folder, "ca.pem"), cert: join(folder, "cert.pem"), key: join(folder, "key.pem") };
  await Promise.all([
    writeFile(files.ca, issuer.cert, { mode: 0o600 }),
    writeFile(files.cert, cert, { mode: 0o600 }),
    writeFile(files.key, key, { mode: 0o600 }),
  ]);
  return files;
}
