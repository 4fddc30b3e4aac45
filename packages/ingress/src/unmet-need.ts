import type { SecretLookup } from "./host-tls.ts";
import { type SecretNeed, secretKey } from "./secret-need.ts";

/**
 * Why what protects a path cannot be had; null: nothing is missing, as far as is known. What nobody could look at yet is
 * taken for there: a proxy that has no row of it lets nobody in.
 * @param secrets null: this fleet has no key for what is secret
 */
export function unmetNeed(needs: readonly SecretNeed[], secrets: SecretLookup | null): string | null {
  for (const need of needs) {
    if (secrets === null) {
      return `${need.field}: this fleet has no key to seal Secrets for; give its config-renderer one with --fleet-key`;
    }
    const secret = secrets(secretKey(need));
    if (secret === undefined) continue;
    const what = `${need.field}: Secret ${secretKey(need)}`;
    if (secret === null) return `${what} is missing; create it`;
    if (need.optional === true && !secret.hasCertificate) continue;
    const contents = secret.contents(need.kind);
    if (!contents.ok) return `${what} cannot be used: ${contents.why}`;
  }
  return null;
}
