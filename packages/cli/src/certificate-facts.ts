import { X509Certificate } from "node:crypto";

/** What a chain of certificates says of itself, by its first one. */
export interface CertificateFacts {
  /** Hosts that it is for. */
  readonly names: readonly string[];
  readonly issuer: string;
  /** e.g. `EC prime256v1`, `RSA 2048` */
  readonly key: string;
  /** ms since 1970. */
  readonly notBefore: number;
  readonly notAfter: number;
}

/** @param chain PEM, the leaf first. @throws Error where that is no certificate */
export function certificateFacts(chain: string): CertificateFacts {
  const leaf = new X509Certificate(chain);
  const { asymmetricKeyType = "unknown", asymmetricKeyDetails = {} } = leaf.publicKey;
  const { modulusLength, namedCurve } = asymmetricKeyDetails;
  return {
    names: namesOf(leaf),
    issuer: commonName(leaf.issuer),
    key: [asymmetricKeyType.toUpperCase(), modulusLength ?? namedCurve]
      .filter((part) => part !== undefined)
      .join(" "),
    notBefore: leaf.validFromDate.getTime(),
    notAfter: leaf.validToDate.getTime(),
  };
}

function namesOf({ subjectAltName }: X509Certificate): string[] {
  return (subjectAltName ?? "")
    .split(", ")
    .filter((name) => name.startsWith("DNS:") || name.startsWith("IP Address:"))
    .map((name) => name.slice(name.indexOf(":") + 1));
}

/** Of a name as OpenSSL writes it, a part a line; without a common name all of it. */
function commonName(name: string | undefined): string {
  const lines = (name ?? "").split("\n");
  return lines.find((line) => line.startsWith("CN="))?.slice(3) ?? lines.join(", ");
}
