import type { ProfileRow, RoutePath, RouteRow, UpstreamRow } from "@sluice/contracts";
import { pathsAt } from "./by-host.ts";
import { addCanaries } from "./canary.ts";
import { byAge, type CompiledIngress, type CompiledPath } from "./compile-ingress.ts";
import type { SecretLookup } from "./host-tls.ts";
import { quote } from "./objects.ts";
import { shutOut } from "./password-hash.ts";
import { defaultProfile } from "./profile.ts";
import { hasRegexes, MAX_REGEXES, type PathText, RegexTexts } from "./regex-host.ts";
import type { SecretNeed } from "./secret-need.ts";
import { findPort, type ReadImport, upstreamOf } from "./service-import.ts";
import { slashRedirects } from "./slash-redirect.ts";
import { unmetNeed } from "./unmet-need.ts";
import type { Reason, Verdict } from "./verdict.ts";

const DERIVED = "derived-";
/** As many as a RouteRow may hold. */
const MAX_PATHS = 10_000;

export interface HostRoutes {
  /** null: nothing is served under this host. */
  readonly row: RouteRow | null;
  readonly upstreams: readonly UpstreamRow[];
  /** Those that its paths use. */
  readonly profiles: readonly ProfileRow[];
  /** Secrets that its paths cannot do without. */
  readonly needs: readonly SecretNeed[];
  /** Of its paths those that are reached by https alone, where the host has TLS. */
  readonly httpsWithTls: ReadonlySet<RoutePath>;
  /** By key of the MCI. */
  readonly verdicts: ReadonlyMap<string, readonly Verdict[]>;
}

/** A ServiceImport that takes what no rule and no default backend of an object does. */
export interface LastBackend {
  readonly namespace: string;
  readonly name: string;
}

export type ImportLookup = (namespace: string, name: string) => ReadImport | undefined;

/** Names under which a backend's import may stand: `derived-web` is what `web` is called inside a cluster. */
export function importNames(backend: string): string[] {
  return backend.startsWith(DERIVED) && backend.length > DERIVED.length
    ? [backend, backend.slice(DERIVED.length)]
    : [backend];
}

/** A path of one host, and whose it is. */
export interface Claim {
  readonly owner: string;
  readonly path: RoutePath;
  /** As it was given, with its closing slash. */
  readonly written: string;
  /** A default backend. */
  readonly fallback: boolean;
  /** Reached by https alone, where the host has TLS. */
  readonly httpsWithTls: boolean;
}

/** All paths of one host, from every MCI that has one under it. */
export function assembleHost(
  host: string,
  ingresses: Iterable<CompiledIngress>,
  imports: ImportLookup,
  last: LastBackend | null,
  secrets: SecretLookup | null,
): HostRoutes {
  const claims = new Map<string, Claim>();
  const upstreams = new Map<string, UpstreamRow>();
  const profiles = new Map<string, ProfileRow>();
  const needs: SecretNeed[] = [];
  const verdicts = new Map<string, Verdict[]>();
  const told = new Set<string>();
  let regexCount = 0;
  const all = [...ingresses].sort(byAge);
  const ordered = all.filter(({ canary }) => canary === null);
  const warnings = (ingress: CompiledIngress) => (reason: Reason, message: string) => {
    // All paths of an object may lack one and the same import.
    const what = `${ingress.key} ${reason} ${message}`;
    if (told.has(what)) return;
    told.add(what);
    const said = verdicts.get(ingress.key) ?? [];
    said.push({ object: ingress.ref, type: "Warning", reason, message });
    verdicts.set(ingress.key, said);
  };
  const regexes = hasRegexes(host, ordered) ? new RegexTexts(host, ordered) : null;
  for (const fallback of [false, true]) {
    for (const ingress of ordered) {
      const warn = warnings(ingress);
      for (const path of pathsAt(ingress.paths, host)) {
        if (path.fallback !== fallback) continue;
        const text: PathText = regexes?.of(path) ?? { path: path.path };
        const claim = `${path.type} ${text.path}`;
        const taken = claims.get(claim);
        if (taken !== undefined) {
          tellTaken(path, ingress.key, taken, warn);
          continue;
        }
        const [most, count] = text.regex ? [MAX_REGEXES, regexCount] : [MAX_PATHS, claims.size];
        if (count >= most) {
          const what = text.regex ? "regular expressions" : "paths";
          warn(
            "PathInvalid",
            `${path.field}: host ${quote(host)} has ${most} ${what}, and no room for this one`,
          );
          continue;
        }
        if (text.regex) regexCount++;
        const { redirect } = path;
        const locked = redirect === undefined ? lockedBy(path, secrets, warn) : null;
        const { upstream, problem } =
          redirect === undefined && locked === null
            ? resolve(ingress, path, imports, warn)
            : { upstream: null, problem: locked };
        if (redirect === undefined) needs.push(...(path.needs ?? []));
        // A redirect needs nothing of nginx.conf.
        const profile = redirect === undefined ? ingress.profile : defaultProfile;
        const spare =
          redirect === undefined && locked === null && path.spare !== undefined
            ? resolveSpare(ingress, path.spare, imports, warn)
            : null;
        for (const each of [upstream, spare]) if (each !== null) upstreams.set(each.id, each);
        profiles.set(profile.hash, profile);
        claims.set(claim, {
          owner: ingress.key,
          written: path.written,
          fallback,
          httpsWithTls: redirect === undefined && path.httpsWithTls === true,
          path: {
            type: path.type,
            ...text,
            upstream: upstream?.id ?? null,
            ...(upstream === null ? {} : { service: upstream.service }),
            ...(spare === null ? {} : { spare: spare.id }),
            profile: profile.hash,
            ...(redirect === undefined ? path.policy : { redirect }),
            ...(problem === null ? {} : { problem }),
            source: { kind: ingress.ref.kind, namespace: ingress.ref.namespace, name: ingress.ref.name },
          },
        });
      }
    }
  }
  const canaries = all.filter(({ canary }) => canary !== null);
  const beside = addCanaries(canaries, {
    host,
    regexes: regexes !== null,
    claims,
    guardsOf: (key) => ordered.find((ingress) => ingress.key === key)?.guards,
    resolve: (ingress, path) => resolve(ingress, path, imports, warnings(ingress)).upstream,
    tell: (ingress, message) => warnings(ingress)("CanaryUnused", message),
  });
  for (const each of beside) upstreams.set(each.id, each);
  const served = claims.size > 0 && claims.size < MAX_PATHS;
  if (last !== null && (served || host === "") && !claims.has("Prefix /")) {
    const { path, upstream } = lastPath(last, imports);
    if (upstream !== null) upstreams.set(upstream.id, upstream);
    profiles.set(defaultProfile.hash, defaultProfile);
    claims.set("Prefix /", { owner: "", path, written: "/", fallback: true, httpsWithTls: true });
  }
  const paths =
    regexes === null
      ? [...[...claims.values()].map((claim) => claim.path), ...slashRedirects(claims, MAX_PATHS)].sort(
          byPath,
        )
      : [...claims.values()].sort((a, b) => byRegex(a, b)).map((claim) => claim.path);
  if (paths.some((path) => path.redirect !== undefined)) profiles.set(defaultProfile.hash, defaultProfile);
  return {
    row: paths.length === 0 ? null : { host, paths },
    upstreams: [...upstreams.values()],
    profiles: [...profiles.values()],
    needs,
    httpsWithTls: new Set(
      [...claims.values()].filter((claim) => claim.httpsWithTls).map((claim) => claim.path),
    ),
    verdicts,
  };
}

function byPath(a: RoutePath, b: RoutePath): number {
  if (a.path !== b.path) return a.path < b.path ? -1 : 1;
  return a.type < b.type ? -1 : a.type > b.type ? 1 : 0;
}

/** The longest first, as ingress-nginx puts them: nginx takes the first that matches. */
function byRegex(a: Claim, b: Claim): number {
  if (a.written.length !== b.written.length) return b.written.length - a.written.length;
  if (a.written !== b.written) return a.written > b.written ? -1 : 1;
  // A Prefix whose text an Exact path has too begins with / behind it.
  return a.path.type > b.path.type ? -1 : a.path.type < b.path.type ? 1 : 0;
}

function tellTaken(
  path: CompiledPath,
  key: string,
  taken: { readonly path: RoutePath; readonly owner: string },
  warn: (reason: Reason, message: string) => void,
): void {
  // That a rule covers the same object's own default backend is what a default is for.
  if (path.fallback && taken.owner === key) return;
  const who =
    taken.owner === key ? "an earlier path of this object" : `MultiClusterIngress ${taken.owner}, which wins`;
  const what = `host ${quote(path.host)}, ${path.type} ${quote(path.path)}`;
  warn("PathTaken", `${path.field}: ${what} is taken by ${who}; use another host or path`);
}

function lockedBy(
  { field, needs = [] }: CompiledPath,
  secrets: SecretLookup | null,
  warn: (reason: Reason, message: string) => void,
): string | null {
  const problem = unmetNeed(needs, secrets);
  if (problem !== null) warn("ProtectionRefused", `${field}: ${problem}. It answers 503 until then`);
  else if (secrets !== null) for (const message of shutOut(needs, secrets)) warn("SecretInvalid", message);
  return problem;
}

function resolve(
  ingress: CompiledIngress,
  path: CompiledPath,
  imports: ImportLookup,
  warn: (reason: Reason, message: string) => void,
): { upstream: UpstreamRow | null; problem: string | null } {
  const { backend } = path;
  if (backend.kind === "none") return { upstream: null, problem: backend.problem };
  const namespace = ingress.ref.namespace;
  const refuse = (reason: Reason, problem: string) => {
    warn(
      reason,
      `${problem}. ${ingress.canary === null ? "It answers 503" : "It takes no request"} until then`,
    );
    return { upstream: null, problem };
  };
  const names = importNames(backend.name);
  const imported = names.map((name) => imports(namespace, name)).find((found) => found !== undefined);
  if (imported === undefined) {
    return refuse(
      "ImportMissing",
      `${path.field}.service.name: namespace ${namespace} has no ServiceImport ${names.at(-1)}; ` +
        "create it, or correct the name",
    );
  }
  const port = findPort(imported, backend.port);
  if (port === null) {
    const asked = backend.port.name ?? String(backend.port.number);
    const there = imported.ports
      .map((p) => (p.name === "" ? `${p.port}` : `${p.port} (${p.name})`))
      .slice(0, 8);
    return refuse(
      "PortMissing",
      `${path.field}.service.port: ServiceImport ${namespace}/${imported.ref.name} has no TCP port ${asked}; ` +
        `it has ${there.join(", ") || "none"}`,
    );
  }
  return { upstream: upstreamOf(imported, port), problem: null };
}

/** Goes before nothing: whatever a rule or an object's default backend says is asked first. */
function lastPath(
  { namespace, name }: LastBackend,
  imports: ImportLookup,
): { path: RoutePath; upstream: UpstreamRow | null } {
  const found = firstPort(namespace, name, imports);
  const upstream = typeof found === "string" ? null : found;
  const path: RoutePath = {
    type: "Prefix",
    path: "/",
    upstream: upstream?.id ?? null,
    profile: defaultProfile.hash,
    ...(typeof found === "string" ? { problem: `--default-backend: ${found}` } : {}),
    source: { kind: "ServiceImport", namespace, name },
  };
  return { path, upstream };
}

function resolveSpare(
  ingress: CompiledIngress,
  name: string,
  imports: ImportLookup,
  warn: (reason: Reason, message: string) => void,
): UpstreamRow | null {
  const found = firstPort(ingress.ref.namespace, name, imports);
  if (typeof found !== "string") return found;
  const field = "metadata.annotations[nginx.ingress.kubernetes.io/default-backend]";
  warn("ImportMissing", `${field}: ${found}. Nobody stands in until then`);
  return null;
}

/** The first TCP port of an import, or why there is none. */
function firstPort(namespace: string, name: string, imports: ImportLookup): UpstreamRow | string {
  const names = importNames(name);
  const imported = names.map((each) => imports(namespace, each)).find((found) => found !== undefined);
  if (imported === undefined) {
    return `namespace ${namespace} has no ServiceImport ${names.at(-1)}; create it, or correct the name`;
  }
  const port = imported.ports.find(({ protocol }) => protocol === "TCP");
  if (port === undefined) return `ServiceImport ${namespace}/${imported.ref.name} has no TCP port; add one`;
  return upstreamOf(imported, port);
}
