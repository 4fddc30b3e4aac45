import type { RouteRow } from "@sluice/contracts";
import { withClients } from "./client-certificates.ts";
import type { CompiledIngress } from "./compile-ingress.ts";
import type { HostRoutes, ImportLookup, LastBackend } from "./host-routes.ts";
import { type HostTls, noTls, type SecretLookup, tlsOfHost, tlsOfOtherName } from "./host-tls.ts";
import { httpsOnly } from "./https-redirect.ts";
import { assembleName, type NameRoutes } from "./other-names.ts";
import { withinHost } from "./route-room.ts";
import { type SecretNeed, secretId } from "./secret-need.ts";
import type { Verdict } from "./verdict.ts";

/** What all hosts of a fleet are made with. */
export interface Surroundings {
  /** MCIs with that host, or with that name. */
  at(host: string): readonly CompiledIngress[];
  readonly imports: ImportLookup;
  readonly last: LastBackend | null;
  /** null: this fleet has no key for what is secret, and serves no certificates. */
  readonly secrets: SecretLookup | null;
  readonly defaultCertificate: SecretNeed | null;
}

export interface SecuredHost extends NameRoutes {
  readonly tls: Pick<HostTls, "secured" | "certificate">;
}

/** The wildcard host of one label whose certificate a host without TLS is shown, as in ingress-nginx; null: there can be none. */
export function wildcardOf(host: string): string | null {
  const dot = host.indexOf(".");
  return dot <= 0 || host.startsWith("*.") ? null : `*${host.slice(dot)}`;
}

/** All that is served under a host, with its certificate and what is asked of its clients. */
export function assembleSecured(host: string, around: Surroundings): SecuredHost {
  const routes = withCertificate(host, around);
  const whose = routes.otherNameOf ?? host;
  const at = around.at(whose);
  const asked = withinHost(withClients(routes, whose, at, around.secrets), at);
  // What is wrong is said where the host itself is.
  return whose === host ? asked : { ...asked, verdicts: routes.verdicts };
}

function withCertificate(host: string, around: Surroundings): SecuredHost {
  const { at, imports, last, secrets } = around;
  const routes = assembleName(host, at, imports, last, secrets);
  if (secrets === null) return { ...routes, tls: noTls };
  if (host === "") return withDefaultCertificate(routes, around.defaultCertificate);
  const own =
    routes.otherNameOf === undefined
      ? tlsOfHost(host, at(host), secrets)
      : tlsOfOtherName(host, routes.otherNameOf, at(routes.otherNameOf), secrets);
  const above = own.secured ? null : wildcardOf(host);
  const tls = above === null ? own : { ...tlsOfHost(above, at(above), secrets), verdicts: own.verdicts };
  if (routes.row === null) return { ...routes, tls };
  const { certificate } = tls;
  const paths = tls.secured ? httpsOnly(routes.row.paths, routes.httpsWithTls) : routes.row.paths;
  return {
    ...routes,
    row: { ...routes.row, paths, ...shown(certificate) },
    needs: certificate === null ? routes.needs : [...routes.needs, certificate],
    verdicts: merged(routes.verdicts, tls.verdicts),
    tls,
  };
}

/** Clients that name no host, or an unknown one, are shown what the row of no host says; it is there for that alone, too. */
function withDefaultCertificate(routes: HostRoutes, certificate: SecretNeed | null): SecuredHost {
  if (certificate === null) return { ...routes, tls: noTls };
  const row = { ...(routes.row ?? { host: "", paths: [] }), ...shown(certificate) };
  return { ...routes, row, needs: [...routes.needs, certificate], tls: { secured: false, certificate } };
}

/** Whether hosts under a wildcard host would be shown the same. */
export function sameTls(a: SecuredHost | undefined, b: SecuredHost): boolean {
  const idOf = ({ secured, certificate }: SecuredHost["tls"]) =>
    `${secured} ${certificate === null ? "" : secretId(certificate)}`;
  return idOf(a?.tls ?? noTls) === idOf(b.tls);
}

function shown(certificate: SecretNeed | null): Pick<RouteRow, "certificate"> {
  return certificate === null ? {} : { certificate: secretId(certificate) };
}

function merged(
  some: ReadonlyMap<string, readonly Verdict[]>,
  more: ReadonlyMap<string, readonly Verdict[]>,
): ReadonlyMap<string, readonly Verdict[]> {
  if (more.size === 0) return some;
  const all = new Map(some);
  for (const [key, verdicts] of more) all.set(key, [...(all.get(key) ?? []), ...verdicts]);
  return all;
}
