import type { Redirect } from "@sluice/contracts";
import { filledHost } from "./annotation-values.ts";
import type { CompiledPath } from "./compile-ingress.ts";
import { checkHost } from "./host.ts";
import type { RedirectPolicy } from "./redirect.ts";

/** What annotations say of the way of requests to a backend. */
export interface RoutePolicy {
  readonly useRegex?: boolean;
  /** What peers are asked for, or, as an absolute URL, where clients are sent. */
  readonly rewrite?: string;
  readonly forwardedPrefix?: string;
  /** With `$service_name` and `$namespace` in it. */
  readonly vhost?: string;
  /** A ServiceImport that is asked while a backend has no peers. */
  readonly spare?: string;
  readonly aliases?: readonly string[];
}

/** A name under which a host is reached too. */
export interface OtherName {
  readonly name: string;
  /** The host that paths name. */
  readonly of: string;
  /** The name leads there by a redirect; else it serves what the host serves. */
  readonly redirects: boolean;
}

/** A target that says the path itself is no rewrite. */
export function regexAsked({ useRegex, rewrite }: RoutePolicy, path: unknown): boolean {
  return useRegex === true || (rewrite !== undefined && rewrite !== path);
}

/** The same paths with what is done to their requests. */
export function routed(
  paths: readonly CompiledPath[],
  policy: RoutePolicy,
  namespace: string,
): CompiledPath[] {
  const { rewrite, forwardedPrefix, spare } = policy;
  return paths.map((path) => {
    const { backend } = path;
    const names = { service_name: backend.kind === "service" ? backend.name : "", namespace };
    const vhost = policy.vhost === undefined ? null : filledHost(policy.vhost, names);
    const rewrites = rewrite !== undefined && rewrite !== path.written;
    if (rewrites && /^https?:/.test(rewrite)) return { ...path, redirect: redirectTo(rewrite) };
    return {
      ...path,
      ...(spare === undefined ? {} : { spare }),
      policy: {
        ...path.policy,
        ...(vhost === null ? {} : { vhost }),
        ...(rewrites ? { rewrite } : {}),
        ...(rewrites && forwardedPrefix !== undefined ? { forwardedPrefix } : {}),
      },
    };
  });
}

/** As nginx's `rewrite` does it: with what groups caught, and with the query unless the target ends with ?. */
function redirectTo(target: string): Redirect {
  const bare = target.endsWith("?");
  return {
    code: 302,
    to: bare ? target.slice(0, -1) : target,
    keeps: bare ? ["groups"] : ["groups", "query"],
  };
}

/** Of several hosts the first by name gets the aliases: in ingress-nginx, too, one server has them in the end. */
export function otherNames(
  paths: readonly CompiledPath[],
  { aliases = [] }: RoutePolicy,
  { fromToWww = false }: RedirectPolicy,
): OtherName[] {
  // The default backend of an object that has hosts is for no host of its own.
  const named = paths.filter((path) => path.host !== "");
  const hosts = [...new Set((named.length > 0 ? named : paths).map((path) => path.host))].sort();
  const [first] = hosts;
  if (first === undefined) return [];
  const found: OtherName[] = aliases
    .filter((name) => name !== first)
    .map((name) => ({ name, of: first, redirects: false }));
  if (!fromToWww) return found;
  for (const host of hosts) {
    const name = host.startsWith("www.") ? host.slice("www.".length) : `www.${host}`;
    if (host === "" || host.startsWith("*.") || !checkHost(name).ok) continue;
    found.push({ name, of: host, redirects: true });
  }
  return found;
}
