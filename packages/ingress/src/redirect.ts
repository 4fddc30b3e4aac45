import type { Redirect } from "@sluice/contracts";
import type { CompiledPath } from "./compile-ingress.ts";

/** What annotations say of requests that are answered by a redirect. */
export interface RedirectPolicy {
  readonly permanent?: string;
  readonly permanentCode?: number;
  readonly temporal?: string;
  readonly temporalCode?: number;
  /** Where `/` goes, on the same host. */
  readonly appRoot?: string;
  /** The name with (or without) `www.` leads here. */
  readonly fromToWww?: boolean;
  /** Who comes in clear is sent to https: where the host has TLS (true unless it is said), and in any case. */
  readonly sslRedirect?: boolean;
  readonly forceSslRedirect?: boolean;
}

/** As in ingress-nginx a temporal redirect goes before a permanent one. */
function redirectOf(policy: RedirectPolicy): Redirect | null {
  if (policy.temporal !== undefined) return { code: policy.temporalCode ?? 302, to: policy.temporal };
  if (policy.permanent !== undefined) return { code: policy.permanentCode ?? 301, to: policy.permanent };
  return null;
}

/** The same paths with their redirects. `/` itself goes to the app root on every host where these paths serve it. */
export function redirected(paths: readonly CompiledPath[], policy: RedirectPolicy): CompiledPath[] {
  const redirect = redirectOf(policy);
  const { appRoot } = policy;
  const all = redirect === null ? [...paths] : paths.map((path) => ({ ...path, redirect }));
  if (appRoot === undefined) return all;
  const isRoot = (path: CompiledPath) => path.path === "/" && !path.fallback;
  const roots = new Map(all.filter(isRoot).map((path) => [path.host, path]));
  const rest = all.filter((path) => !(isRoot(path) && path.type === "Exact"));
  const jumps = [...roots.values()].map(
    (path): CompiledPath => ({ ...path, type: "Exact", literal: true, redirect: { code: 302, to: appRoot } }),
  );
  return [...jumps, ...rest];
}
