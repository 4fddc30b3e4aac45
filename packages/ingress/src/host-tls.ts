// Which certificate a host is shown, by ingress-nginx's rules: the oldest object with a rule for the host and with a
// `spec.tls` decides. Of its entries the first that names the host exactly counts, else the first whose certificate is
// for the host. Where that does not lead to a certificate for the host, the default one is shown.
import { pathsAt, tlsEntriesAt } from "./by-host.ts";
import { byAge, type CompiledIngress } from "./compile-ingress.ts";
import { quote } from "./objects.ts";
import type { ReadSecret } from "./secret.ts";
import { type SecretNeed, secretKey } from "./secret-need.ts";
import type { TlsEntry } from "./tls-spec.ts";
import type { Reason, Verdict } from "./verdict.ts";

/** null: the hub has none of that name. undefined: nobody could ask it yet. */
export type SecretLookup = (key: string) => ReadSecret | null | undefined;

export interface HostTls {
  /** Some object gives the host TLS, be it by the default certificate: who comes in clear is sent to https. */
  readonly secured: boolean;
  /** null: the default certificate. */
  readonly certificate: SecretNeed | null;
  /** By key of the MCI. */
  readonly verdicts: ReadonlyMap<string, readonly Verdict[]>;
}

/** Entries of `spec.tls` whose certificates are looked at for a host that none names: each host of an object does so. */
const MOST_LOOKED_AT = 100;

export const noTls: HostTls = { secured: false, certificate: null, verdicts: new Map() };

/** Certificate of a name that rules have. @param at MCIs with that host */
export function tlsOfHost(host: string, at: readonly CompiledIngress[], secrets: SecretLookup): HostTls {
  // Who asks for no host at all is shown the default certificate, whatever objects without a host say.
  if (host === "") return noTls;
  const owner = at
    .filter(({ tls, paths }) => tls.length > 0 && pathsAt(paths, host).length > 0)
    .toSorted(byAge)[0];
  if (owner === undefined) return noTls;
  const verdicts = new Map<string, Verdict[]>();
  const warn = (reason: Reason, message: string) =>
    verdicts.set(owner.key, [{ object: owner.ref, type: "Warning", reason, message }]);
  const [named] = tlsEntriesAt(owner.tls, host);
  const certificate =
    named === undefined
      ? byCertificate(host, owner, secrets, warn)
      : byName(host, named, owner, secrets, warn);
  return { secured: true, certificate, verdicts };
}

/** Certificate of a name that leads to a host without being one: the host's own, where that is for the name too. */
export function tlsOfOtherName(
  name: string,
  of: string,
  at: readonly CompiledIngress[],
  secrets: SecretLookup,
): HostTls {
  const { certificate } = tlsOfHost(of, at, secrets);
  const reading = certificate === null ? undefined : secrets(secretKey(certificate))?.certificate;
  if (reading === undefined || !reading.ok || !reading.value.covers(name, true)) return noTls;
  return { secured: true, certificate, verdicts: new Map() };
}

function needOf({ secret, field }: TlsEntry, { ref }: CompiledIngress): SecretNeed | null {
  return secret === null
    ? null
    : { kind: "tls", namespace: ref.namespace, name: secret, field: `${field}.secretName` };
}

function byName(
  host: string,
  entry: TlsEntry,
  owner: CompiledIngress,
  secrets: SecretLookup,
  warn: (reason: Reason, message: string) => void,
): SecretNeed | null {
  const need = needOf(entry, owner);
  if (need === null) return null;
  const secret = secrets(secretKey(need));
  if (secret === undefined) return need;
  const what = `${need.field}: Secret ${secretKey(need)}`;
  if (secret === null) {
    warn(
      "SecretMissing",
      `${what} is missing; create it. Host ${quote(host)} is shown the default certificate until then`,
    );
    return need;
  }
  const { certificate } = secret;
  if (!certificate.ok) {
    warn(
      "SecretInvalid",
      `${what} cannot be used: ${certificate.why}. Host ${quote(host)} keeps the certificate that it had, ` +
        "or is shown the default one",
    );
    return need;
  }
  if (certificate.value.covers(host, true)) return need;
  warn(
    "CertificateForAnotherName",
    `${what} holds a certificate that is not for ${quote(host)}, which is shown the default one; ` +
      "have one made for that name",
  );
  return null;
}

function byCertificate(
  host: string,
  owner: CompiledIngress,
  secrets: SecretLookup,
  warn: (reason: Reason, message: string) => void,
): SecretNeed | null {
  let unread: SecretNeed | null = null;
  for (const entry of owner.tls.slice(0, MOST_LOOKED_AT)) {
    const need = needOf(entry, owner);
    if (need === null) continue;
    const secret = secrets(secretKey(need));
    if (secret === undefined) unread ??= need;
    else if (secret?.certificate.ok && secret.certificate.value.covers(host, false)) return need;
  }
  // While nobody can look at them, what was shown is most likely shown on.
  if (unread === null) {
    warn(
      "CertificateForAnotherName",
      `spec.tls: no entry names host ${quote(host)}, nor is any certificate for it; it is shown the default one. ` +
        "Name it in spec.tls[].hosts beside the Secret of its certificate",
    );
  }
  return unread;
}
