import type { RoutePath } from "@sluice/contracts";
import type { CompiledPath } from "./compile-ingress.ts";
import type { RedirectPolicy } from "./redirect.ts";

/** As in ingress-nginx's no-tls-redirect-locations: who issues a certificate asks for these in clear (RFC 8555 8.3). */
export const ALWAYS_IN_CLEAR: readonly string[] = ["/.well-known/acme-challenge"];

/** The same paths with who of their clients is sent to https. @param inClear beginnings of paths of which nobody is */
export function securedPaths(
  paths: readonly CompiledPath[],
  { sslRedirect = true, forceSslRedirect = false }: RedirectPolicy,
  inClear: readonly string[],
): CompiledPath[] {
  return paths.map((path) => {
    if (inClear.some((each) => path.path.startsWith(each))) return path;
    if (forceSslRedirect) return { ...path, policy: { ...path.policy, httpsOnly: true } };
    return sslRedirect ? { ...path, httpsWithTls: true } : path;
  });
}

/** A host has TLS: those of its paths that want it are reached by https alone. */
export function httpsOnly(paths: readonly RoutePath[], wanting: ReadonlySet<RoutePath>): RoutePath[] {
  return paths.map((path) => (wanting.has(path) ? { ...path, httpsOnly: true } : path));
}
