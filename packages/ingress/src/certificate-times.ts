import type { CompiledIngress } from "./compile-ingress.ts";
import type { SecretLookup } from "./host-tls.ts";
import type { Reason, Verdict } from "./verdict.ts";

/**
 * Whoever renews by himself has done so before: those who live for 90 days a third of that before their end. One that
 * lives for a day has its last third for it, too.
 */
const EXPIRING_MS = 14 * 86_400_000;

export type CertificateState = "valid" | "early" | "expiring" | "expired";

/** @param now milliseconds since 1970 */
export function certificateState(
  { notBefore, notAfter }: { readonly notBefore: number; readonly notAfter: number },
  now: number,
): CertificateState {
  if (now >= notAfter) return "expired";
  if (now < notBefore) return "early";
  const last = Math.min(EXPIRING_MS, (notAfter - notBefore) / 3);
  return now >= notAfter - last ? "expiring" : "valid";
}

const reasons: Readonly<Record<Exclude<CertificateState, "valid">, Reason>> = {
  early: "CertificateNotYetValid",
  expiring: "CertificateExpiring",
  expired: "CertificateExpired",
};

/** What time does to the certificates of an object: they are shown all the same, as ingress-nginx does. */
export function timeVerdicts({ ref, tls }: CompiledIngress, secrets: SecretLookup, now: number): Verdict[] {
  const said: Verdict[] = [];
  const seen = new Set<string>();
  for (const { secret: name, field } of tls) {
    const key = `${ref.namespace}/${name}`;
    if (name === null || seen.has(key)) continue;
    seen.add(key);
    const certificate = secrets(key)?.certificate;
    if (!certificate?.ok) continue;
    const state = certificateState(certificate.value, now);
    if (state === "valid") continue;
    const { notBefore, notAfter } = certificate.value;
    const [verb, at] = {
      early: ["is not valid before", notBefore] as const,
      expiring: ["ends at", notAfter] as const,
      expired: ["has ended at", notAfter] as const,
    }[state];
    said.push({
      object: ref,
      type: "Warning",
      reason: reasons[state],
      message:
        `${field}.secretName: the certificate in Secret ${key} ${verb} ${new Date(at).toISOString()}` +
        `${state === "expiring" ? "; renew it" : ", and is shown all the same; renew it"}`,
    });
  }
  return said;
}
