// Values of annotations that say how peers are spoken to. What of them stands in nginx.conf is of closed lists, so that
// nginx never refuses its configuration for one.
import { reader, type ValueReader, words } from "./annotation-values.ts";

const PROTOCOLS = ["HTTP", "HTTPS", "GRPC", "GRPCS", "FCGI", "AJP", "AUTO_HTTP"] as const;

export type BackendProtocol = (typeof PROTOCOLS)[number];

export const backendProtocol: ValueReader<BackendProtocol> = reader(
  "one of HTTP, HTTPS, GRPC and GRPCS, in any case",
  (text) => PROTOCOLS.find((protocol) => protocol === text.toUpperCase()) ?? null,
);

export const tlsProtocolWords: readonly string[] = ["TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3"];

export const tlsProtocols: ValueReader<string> = words(tlsProtocolWords);

const TLS_NAME =
  /^(?=.{1,253}$)[A-Za-z0-9]([-A-Za-z0-9]{0,61}[A-Za-z0-9])?(\.[A-Za-z0-9]([-A-Za-z0-9]{0,61}[A-Za-z0-9])?)*$/;

export function isTlsName(text: string): boolean {
  return TLS_NAME.test(text);
}

export const tlsName: ValueReader<string> = reader("a DNS name or an IPv4 address", (text) =>
  isTlsName(text) ? text : null,
);

/** Of these OpenSSL 1.1 and 3 know every one, at the security level that distributions build them with. */
const SUITES: ReadonlySet<string> = new Set([
  "ECDHE-ECDSA-AES128-GCM-SHA256",
  "ECDHE-ECDSA-AES256-GCM-SHA384",
  "ECDHE-ECDSA-CHACHA20-POLY1305",
  "ECDHE-RSA-AES128-GCM-SHA256",
  "ECDHE-RSA-AES256-GCM-SHA384",
  "ECDHE-RSA-CHACHA20-POLY1305",
  "DHE-RSA-AES128-GCM-SHA256",
  "DHE-RSA-AES256-GCM-SHA384",
  "DHE-RSA-CHACHA20-POLY1305",
  "ECDHE-ECDSA-AES128-SHA256",
  "ECDHE-ECDSA-AES256-SHA384",
  "ECDHE-RSA-AES128-SHA256",
  "ECDHE-RSA-AES256-SHA384",
  "ECDHE-ECDSA-AES128-SHA",
  "ECDHE-ECDSA-AES256-SHA",
  "ECDHE-RSA-AES128-SHA",
  "ECDHE-RSA-AES256-SHA",
  "AES128-GCM-SHA256",
  "AES256-GCM-SHA384",
  "AES128-SHA256",
  "AES256-SHA256",
  "AES128-SHA",
  "AES256-SHA",
]);
const FAMILIES: ReadonlySet<string> = new Set(["DEFAULT", "HIGH"]);
/** None of these takes all of a family away. */
const EXCLUDED: ReadonlySet<string> = new Set(
  [
    "aNULL",
    "eNULL",
    "NULL",
    "EXPORT",
    "LOW",
    "DES",
    "3DES",
    "RC4",
    "MD5",
    "PSK",
    "SRP",
    "DSS",
    "CAMELLIA",
    "kRSA",
    "SHA1",
  ].map((name) => `!${name}`),
);

/** Suites, or a family with what is taken away of it: a list that leaves nothing would keep nginx from loading. */
export function isCipherList(text: string): boolean {
  const parts = text.split(":");
  if (parts.length > 40) return false;
  const [first = "", ...rest] = parts;
  if (!FAMILIES.has(first)) return parts.every((part) => SUITES.has(part));
  return rest.every((part) => SUITES.has(part) || EXCLUDED.has(part));
}

export const tlsCiphers: ValueReader<string> = reader(
  "OpenSSL's names of suites with colons between, such as ECDHE-RSA-AES128-GCM-SHA256, or DEFAULT or HIGH with what is " +
    "excluded, such as HIGH:!aNULL:!MD5",
  (text) => (isCipherList(text) ? text : null),
);
