import { randomInt } from "node:crypto";

/** Kubernetes' alphabet for generated names: no vowels, so that no words appear; nothing that looks like another. */
const ALPHABET = "bcdfghjklmnpqrstvwxz2456789";
/** Generated suffixes must fit: names are at most 253 characters, pods' host names 63. */
const MAX_PREFIX = 57;

/** The five characters that Kubernetes adds to a generateName. */
function nameSuffix(): string {
  let suffix = "";
  for (let i = 0; i < 5; i += 1) suffix += ALPHABET[randomInt(ALPHABET.length)];
  return suffix;
}

/** `prefix` is cut to what leaves room for the suffix, as the API server does. */
export function generatedName(prefix: string): string {
  return `${prefix.slice(0, MAX_PREFIX)}-${nameSuffix()}`;
}

/** Ten characters that follow from the value alone: FNV-1a in decimal, each digit spelled in the alphabet. */
export function templateHash(template: unknown): string {
  let hash = 0x811c9dc5;
  for (const byte of Buffer.from(canonical(template))) {
    hash = Math.imul(hash ^ byte, 0x01000193) >>> 0;
  }
  return [...String(hash).padStart(10, "0")]
    .map((digit) => ALPHABET[digit.charCodeAt(0) % ALPHABET.length])
    .join("");
}

/** JSON with sorted keys. */
export function canonical(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonical).join(",")}]`;
  if (typeof value === "object" && value !== null) {
    const entries = Object.entries(value).filter(([, v]) => v !== undefined);
    entries.sort(([a], [b]) => (a < b ? -1 : 1));
    return `{${entries.map(([key, v]) => `${JSON.stringify(key)}:${canonical(v)}`).join(",")}}`;
  }
  return JSON.stringify(value) ?? "null";
}
