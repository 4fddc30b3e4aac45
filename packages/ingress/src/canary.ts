// Objects with `canary: "true"` have no paths of their own: each of theirs stands beside the same path of another object and
// takes some of its requests.
import type { Canary, UpstreamRow } from "@sluice/contracts";
import { pathsAt } from "./by-host.ts";
import type { CompiledIngress, CompiledPath } from "./compile-ingress.ts";
import type { Claim } from "./host-routes.ts";
import { quote } from "./objects.ts";

/** What annotations say of it. */
export interface CanaryPolicy {
  readonly canary?: boolean;
  /** As nginx names the variable: lower case, _ for -. */
  readonly header?: string;
  readonly headerValue?: string;
  readonly headerPattern?: string;
  readonly cookie?: string;
  readonly weight?: number;
  readonly weightTotal?: number;
  readonly affinityBehavior?: "sticky" | "legacy";
}

/** Which requests of a path it takes; how its peers are chosen stands with each of its paths. */
export type CanaryTerms = Omit<Canary, "upstream" | "balance" | "source">;

/** Of these annotations of a canary something holds; of all others what the other object says. */
const OWN = /^(canary(-.*)?|affinity(-.*)?|session-cookie-.*|load-balance|upstream-hash-by)$/;
const PREFIX = "nginx.ingress.kubernetes.io/";
const name = (annotation: string) => `metadata.annotations[${PREFIX}${annotation}]`;

/** Annotations of a canary that mean nothing there, sorted. */
export function unusedByCanary(annotations: ReadonlyMap<string, string>): string[] {
  const own = [...annotations.keys()].filter((key) => key.startsWith(PREFIX));
  return own.filter((key) => !OWN.test(key.slice(PREFIX.length))).sort();
}

/**
 * @param annotations as they were written
 * @param tell what leaves it without requests
 * @returns null: the object is none. What is not of its shape is no condition, and no other takes its place: an object
 * whose `canary` is neither true nor false must not take all requests of its paths.
 */
export function canaryTerms(
  policy: CanaryPolicy,
  annotations: ReadonlyMap<string, string>,
  tell: (message: string) => void,
): CanaryTerms | null {
  const written = (annotation: string) => (annotations.get(PREFIX + annotation) ?? "").trim() !== "";
  const { header, headerValue, headerPattern, cookie, weight = 0, weightTotal = 100 } = policy;
  const conditions = ["canary-by-header", "canary-by-cookie", "canary-weight"].filter(written);
  if (policy.canary === false || !written("canary")) {
    if (conditions.length > 0) {
      tell(
        `${name(conditions[0] as string)} means nothing without canary: "true"; add it, or remove the others`,
      );
    }
    return null;
  }
  if (policy.canary === undefined) return {};
  const judged =
    header !== undefined &&
    (headerValue !== undefined || !written("canary-by-header-value")) &&
    (headerValue !== undefined || headerPattern !== undefined || !written("canary-by-header-pattern"));
  if (conditions.length === 0) {
    tell(`${name("canary")}: it takes no request; add canary-weight, canary-by-header or canary-by-cookie`);
  }
  return {
    ...(judged ? { header: headerOf(header, headerValue, headerPattern) } : {}),
    ...(cookie === undefined ? {} : { cookie }),
    ...(weight === 0 ? {} : { weight }),
    // As in ingress-nginx, where it can be raised alone.
    ...(weight === 0 || weightTotal <= 100 ? {} : { of: weightTotal }),
    ...(policy.affinityBehavior === "legacy" ? {} : { sticky: true }),
  };
}

function headerOf(name: string, value: string | undefined, pattern: string | undefined) {
  if (value !== undefined) return { name, value };
  return pattern === undefined ? { name } : { name, pattern };
}

export interface CanaryHost {
  readonly host: string;
  /** Paths are regular expressions: a closing slash counts. */
  readonly regexes: boolean;
  /** Paths of the host as they are without canaries, by whatever; those that get one are replaced. */
  readonly claims: Map<string, Claim>;
  /** What the object with this key asks of who comes in. */
  guardsOf(key: string): ReadonlyMap<string, string> | undefined;
  /** The upstream of a path, or null, which has been told then. */
  resolve(ingress: CompiledIngress, path: CompiledPath): UpstreamRow | null;
  tell(ingress: CompiledIngress, message: string): void;
}

/** Puts canaries beside the paths that they name, the oldest first. @returns upstreams that they need */
export function addCanaries(canaries: readonly CompiledIngress[], on: CanaryHost): UpstreamRow[] {
  const textOf = (type: string, written: string, fallback: boolean) => {
    const open = type === "Exact" || on.regexes || written === "/" ? written : written.replace(/\/$/, "");
    return `${fallback} ${type} ${open}`;
  };
  const keys = new Map<string, string>();
  for (const [key, { path, written, fallback }] of on.claims) {
    const text = textOf(path.type, written, fallback);
    // A Prefix that an Exact path of its host shares its text with is written in two ways.
    if (!keys.has(text)) keys.set(text, key);
  }
  const upstreams: UpstreamRow[] = [];
  const holders = new Map<string, string>();
  for (const ingress of canaries) {
    for (const path of pathsAt(ingress.paths, on.host)) {
      const key = keys.get(textOf(path.type, path.written, path.fallback));
      const claim = key === undefined ? undefined : on.claims.get(key);
      const upstream = addCanary(ingress, path, claim, key === undefined ? undefined : holders.get(key), on);
      if (upstream === null || key === undefined || claim === undefined) continue;
      upstreams.push(upstream);
      holders.set(key, ingress.key);
      const { balance } = path.policy;
      const canary = {
        upstream: upstream.id,
        ...ingress.canary,
        ...(balance === undefined ? {} : { balance }),
        source: { kind: ingress.ref.kind, namespace: ingress.ref.namespace, name: ingress.ref.name },
      };
      on.claims.set(key, { ...claim, path: { ...claim.path, canary } });
    }
  }
  return upstreams;
}

function addCanary(
  ingress: CompiledIngress,
  path: CompiledPath,
  claim: Claim | undefined,
  holder: string | undefined,
  { host, guardsOf, resolve, tell }: CanaryHost,
): UpstreamRow | null {
  const what = `${path.field}: host ${quote(host)}, ${path.type} ${quote(path.written)}`;
  const refuse = (why: string) => {
    tell(ingress, `${what} ${why}. It takes no request until then`);
    return null;
  };
  if (claim === undefined) {
    return refuse(
      'has no MultiClusterIngress without canary: "true" that serves it; create that one, or correct the path',
    );
  }
  const { source, redirect } = claim.path;
  if (source.namespace !== ingress.ref.namespace) {
    // Whoever may write in one namespace must not take the requests of another.
    return refuse(
      `belongs to MultiClusterIngress ${claim.owner} of another namespace; move the canary there`,
    );
  }
  if (holder !== undefined)
    return refuse(`has a canary already, MultiClusterIngress ${holder}; remove one of the two`);
  if (redirect !== undefined) return refuse(`answers a redirect, as MultiClusterIngress ${claim.owner} says`);
  const guards = guardsOf(claim.owner);
  const open = [...ingress.guards].find(([annotation, value]) => guards?.get(annotation) !== value);
  if (open !== undefined) {
    return refuse(
      `is not guarded by ${open[0]} in MultiClusterIngress ${claim.owner} as it is here; say it there too`,
    );
  }
  const upstream = resolve(ingress, path);
  if (upstream === null) return null;
  if (claim.path.upstream === null) {
    return refuse(`answers 503, as MultiClusterIngress ${claim.owner} is told; mend that one first`);
  }
  if (claim.path.upstream === upstream.id) {
    return refuse(`has the same backend in MultiClusterIngress ${claim.owner}; write another one here`);
  }
  return upstream;
}
