import type { PathPolicy, ProfileRow, Redirect } from "@sluice/contracts";
import { admitted } from "./access.ts";
import { answered, type ConfigMapLookup } from "./answer-headers.ts";
import { spoken } from "./backend.ts";
import { balanced } from "./balance.ts";
import { type CanaryTerms, canaryTerms, unusedByCanary } from "./canary.ts";
import { type ClientDemand, clientDemand } from "./client-certificates.ts";
import { readFirstByte, settingsFor, withFirstByte } from "./first-byte.ts";
import { headed, headerSettings } from "./headers.ts";
import { checkHost } from "./host.ts";
import { securedPaths } from "./https-redirect.ts";
import { belongs, type ClassRules } from "./ingress-class.ts";
import { limited } from "./limits.ts";
import { mirrored } from "./mirror.ts";
import {
  annotationsOf,
  createdAt,
  fieldsOf,
  keyOf,
  listOf,
  type MultiClusterIngress,
  type ObjectRef,
  quote,
  refOf,
} from "./objects.ts";
import { checkPath, type PathType } from "./path.ts";
import { defaultProfile, phasesFor, profileOf } from "./profile.ts";
import { type AnnotationDefaults, type AnnotationReading, readAnnotations } from "./read-annotations.ts";
import { redirected } from "./redirect.ts";
import { type OtherName, otherNames, type RoutePolicy, regexAsked, routed } from "./route-policy.ts";
import { withinObject } from "./route-room.ts";
import type { SecretNeed } from "./secret-need.ts";
import { readTls, type TlsEntry } from "./tls-spec.ts";
import type { Reason, Verdict } from "./verdict.ts";

/** Where a path shall go, before imports are looked at. */
export type Backend =
  | { readonly kind: "service"; readonly name: string; readonly port: { name?: string; number?: number } }
  /** Answers 503. */
  | { readonly kind: "none"; readonly problem: string };

export interface CompiledPath {
  readonly host: string;
  readonly type: PathType;
  readonly path: string;
  /** `path` with its closing slash, if it was given one. */
  readonly written: string;
  /** Its object asks for regular expressions, and this path is one. */
  readonly regex: boolean;
  /** No regular expression, whatever other paths of its host are. */
  readonly literal?: true;
  readonly backend: Backend;
  /** Field of the backend, for messages, e.g. `spec.rules[0].http.paths[1].backend`. */
  readonly field: string;
  /** A default backend: whatever a rule of anybody's claims goes before it. */
  readonly fallback: boolean;
  /** Goes before the backend. */
  readonly redirect?: Redirect;
  /** Name of a ServiceImport that is asked while the backend has no peers. */
  readonly spare?: string;
  /** What is done with its requests; nothing of it where a redirect answers. */
  readonly policy: PathPolicy;
  /** Reached by https alone, where its host has TLS. */
  readonly httpsWithTls?: true;
  /** Secrets without which nobody may come in. */
  readonly needs?: readonly SecretNeed[];
}

/** One MultiClusterIngress by itself: all that can be said of it without any other object but the classes. */
export interface CompiledIngress {
  readonly key: string;
  readonly ref: ObjectRef;
  readonly createdAt: number;
  readonly served: boolean;
  readonly paths: readonly CompiledPath[];
  /** Its paths are no routes but stand beside those of another object; null: they are routes. */
  readonly canary: CanaryTerms | null;
  /** Its annotations that ask for protection. */
  readonly guards: ReadonlyMap<string, string>;
  /** More names for hosts of its paths. */
  readonly otherNames: readonly OtherName[];
  /** Of all its paths. */
  readonly profile: ProfileRow;
  readonly tls: readonly TlsEntry[];
  /** What it asks of the clients of its hosts; null: nothing. */
  readonly clients: ClientDemand | null;
  /** `namespace/name` of the ConfigMap with headers of its answers; null: it names none. */
  readonly configMap: string | null;
  readonly verdicts: readonly Verdict[];
}

/** Who wins the same host and path: the oldest, then the first by namespace/name. */
export function byAge(a: CompiledIngress, b: CompiledIngress): number {
  if (a.createdAt !== b.createdAt) return a.createdAt < b.createdAt ? -1 : 1;
  return a.key < b.key ? -1 : a.key > b.key ? 1 : 0;
}

interface Draft {
  readonly ingress: MultiClusterIngress;
  readonly policy: RoutePolicy;
  paths: CompiledPath[];
  readonly canary: CanaryTerms | null;
  warn(reason: Reason, message: string): void;
}

/**
 * @param servesTls what is secret can be sealed for this fleet
 * @param defaults what holds where it says nothing
 * @param configMaps those that it names
 */
export function compileIngress(
  ingress: MultiClusterIngress,
  rules: ClassRules,
  servesTls: boolean,
  defaults: AnnotationDefaults,
  configMaps: ConfigMapLookup,
): CompiledIngress {
  const ref = refOf(ingress, "networking.karmada.io/v1alpha1", "MultiClusterIngress");
  const verdicts: Verdict[] = [];
  const reading = readAnnotations(annotationsOf(ingress), defaults);
  const { settings, redirects, routes, balance } = reading.policies;
  const warn: Draft["warn"] = (reason, message) =>
    verdicts.push({ object: ref, type: "Warning", reason, message });
  const belonging = belongs(ingress, rules);
  const canary =
    belonging.kind === "ours"
      ? canaryTerms(reading.policies.canary, annotationsOf(ingress), (message) =>
          warn("CanaryUnused", message),
        )
      : null;
  const draft: Draft = { ingress, policy: reading.policies.routes, paths: [], canary, warn };
  let profile = defaultProfile;
  let tls: readonly TlsEntry[] = [];
  let clients: ClientDemand | null = null;
  let configMap: string | null = null;
  if (belonging.kind === "unknown") {
    const { field, name } = belonging;
    draft.warn(
      "ClassUnknown",
      `${field}: no fleet serves class ${quote(name)} and no IngressClass has that name; ` +
        `write ${[...rules.ours].join(" or ")}, or create the IngressClass`,
    );
  }
  if (belonging.kind === "ours") {
    addRules(draft);
    addDefaultBackend(draft);
  }
  if (canary !== null) {
    noteAnnotations(draft, { ...reading, ignored: [] });
    noteUnused(draft);
    draft.paths = refusesCanary(draft, reading) ? [] : balanced(draft.paths, balance);
  } else if (belonging.kind === "ours") {
    tls = servesTls ? tlsOf(draft) : noTls(draft);
    noteAnnotations(draft, reading);
    const firstByteMs = readFirstByte(annotationsOf(ingress), (message) =>
      warn("AnnotationInvalid", message),
    );
    draft.paths = withFirstByte(draft.paths, firstByteMs);
    draft.paths = balanced(redirected(routed(draft.paths, routes, ref.namespace), redirects), balance);
    draft.paths = headed(draft.paths, reading.policies.headers);
    const { namespace } = ref;
    const headers = { namespace, allowed: defaults.answerHeaders, configMaps, warn };
    const given = answered(draft.paths, reading.policies.headers.answerHeaders, headers);
    draft.paths = given.paths;
    configMap = given.configMap;
    draft.paths = mirrored(draft.paths, reading.policies.mirror, ref);
    draft.paths = securedPaths(draft.paths, redirects, defaults.inClear);
    const backends = spoken(draft.paths, reading.policies.backends, ref.namespace, warn);
    draft.paths = backends.paths;
    draft.paths = limited(draft.paths, reading.policies.limits, keyOf(ingress));
    const { paths, problem } = admitted(draft.paths, reading.policies.access, ref);
    draft.paths = paths;
    const asked = clientDemand(reading.policies.clients, ref.namespace);
    clients = asked.demand;
    refuseUnprotected(draft, reading, problem ?? asked.problem);
    profile = profileOf({
      ...settingsFor(settings, firstByteMs),
      ...backends.settings,
      ...phasesFor(draft.paths.map(({ policy }) => policy)),
      ...headerSettings(reading.policies.headers),
    });
  }
  draft.paths = withinObject(draft.paths, JSON.stringify(clients?.certificate ?? "").length, warn);
  return {
    key: keyOf(ingress),
    ref,
    createdAt: createdAt(ingress),
    served: belonging.kind === "ours",
    paths: draft.paths,
    canary,
    guards: reading.guards,
    otherNames: canary === null ? otherNames(draft.paths, routes, redirects) : [],
    profile,
    tls,
    clients,
    configMap,
    verdicts,
  };
}

function addRules(draft: Draft): void {
  const spec = fieldsOf(draft.ingress.spec);
  if (spec === null || (listOf(spec["rules"]).length === 0 && fieldsOf(spec["defaultBackend"]) === null)) {
    draft.warn("SpecInvalid", "spec holds neither rules nor defaultBackend; write at least one");
    return;
  }
  for (const [r, item] of listOf(spec["rules"]).entries()) {
    const field = `spec.rules[${r}]`;
    const rule = fieldsOf(item);
    if (rule === null) {
      draft.warn("RuleInvalid", `${field} is no object; it is left out`);
      continue;
    }
    const host = checkHost(rule["host"]);
    if (!host.ok) {
      draft.warn("HostInvalid", `${field}.host: ${quote(rule["host"])} ${host.why}; this rule is left out`);
      continue;
    }
    const http = fieldsOf(rule["http"]);
    const paths = listOf(http?.["paths"]);
    if (paths.length > 0) {
      for (const [p, path] of paths.entries()) addPath(draft, host.host, path, `${field}.http.paths[${p}]`);
    } else if (http === null && fieldsOf(spec["defaultBackend"]) !== null) {
      // Ingress v1: a rule without paths sends all of its host to the default backend.
      const backend = readBackend(draft, spec["defaultBackend"], "spec.defaultBackend");
      draft.paths.push({
        host: host.host,
        type: "Prefix",
        path: "/",
        written: "/",
        regex: regexAsked(draft.policy, "/"),
        backend,
        field: "spec.defaultBackend",
        fallback: true,
        policy: {},
      });
    } else {
      draft.warn("RuleInvalid", `${field}.http.paths is empty; list the paths, or add spec.defaultBackend`);
    }
  }
}

function addPath(draft: Draft, host: string, value: unknown, field: string): void {
  const item = fieldsOf(value);
  if (item === null) {
    draft.warn("PathInvalid", `${field} is no object; it is left out`);
    return;
  }
  const asked = regexAsked(draft.policy, item["path"]);
  const read = checkPath(item["path"], item["pathType"], asked);
  // Whether paths are regular expressions is for the object to say that a canary stands beside.
  const regex = asked || (!read.ok && draft.canary !== null);
  const check = regex && !asked ? checkPath(item["path"], item["pathType"], true) : read;
  if (!check.ok) {
    const reason = check.field === "path" ? "PathInvalid" : "PathTypeInvalid";
    const what = `${field}.${check.field}: ${quote(item[check.field])} ${check.why}`;
    draft.warn(reason, `${what}; this path is left out`);
    return;
  }
  const backend = readBackend(draft, item["backend"], `${field}.backend`);
  draft.paths.push({
    host,
    type: check.type,
    path: check.path,
    written: check.written,
    regex,
    backend,
    field: `${field}.backend`,
    fallback: false,
    policy: {},
  });
}

/** For requests that no rule takes: on the hosts of the object, and on those of nobody. */
function addDefaultBackend(draft: Draft): void {
  const value = fieldsOf(draft.ingress.spec)?.["defaultBackend"];
  if (value === undefined || value === null) return;
  const field = "spec.defaultBackend";
  const backend = readBackend(draft, value, field);
  const hosts = new Set([...draft.paths.map((path) => path.host), ""]);
  // A rule without paths has put it there already; a path / of the object's own takes all.
  const whole = draft.paths.filter(
    ({ fallback, type, path }) => fallback || (type === "Prefix" && path === "/"),
  );
  for (const { host } of whole) hosts.delete(host);
  const regex = regexAsked(draft.policy, "/");
  for (const host of hosts) {
    draft.paths.push({
      host,
      type: "Prefix",
      path: "/",
      written: "/",
      regex,
      backend,
      field,
      fallback: true,
      policy: {},
    });
  }
}

function readBackend(draft: Draft, value: unknown, field: string): Backend {
  const none = (reason: Reason, message: string): Backend => {
    const until = draft.canary === null ? "It answers 503" : "It takes no request";
    draft.warn(reason, `${message}. ${until} until then`);
    return { kind: "none", problem: message };
  };
  const backend = fieldsOf(value);
  const resource = fieldsOf(backend?.["resource"]);
  if (resource !== null) {
    const what = `${field}.resource: a ${quote(resource["kind"])} as backend is not supported`;
    return none("BackendUnsupported", `${what}; write ${field}.service with a ServiceImport's name and port`);
  }
  const service = fieldsOf(backend?.["service"]);
  const name = service?.["name"];
  if (typeof name !== "string" || name === "") {
    return none("BackendInvalid", `${field}.service.name is missing; write the name of a ServiceImport`);
  }
  const port = fieldsOf(service?.["port"]);
  const byName = port?.["name"];
  const byNumber = port?.["number"];
  const hasName = typeof byName === "string" && byName !== "";
  const hasNumber = Number.isInteger(byNumber) && byNumber !== 0;
  if (hasName === hasNumber) {
    return none(
      "BackendInvalid",
      `${field}.service.port holds not exactly one of name and number; write one`,
    );
  }
  return { kind: "service", name, port: hasName ? { name: byName } : { number: byNumber as number } };
}

function tlsOf({ ingress, warn }: Draft): TlsEntry[] {
  return readTls(ingress.spec, ingress.metadata.namespace ?? "", (message) => warn("SecretInvalid", message));
}

function noTls(draft: Draft): TlsEntry[] {
  if (listOf(fieldsOf(draft.ingress.spec)?.["tls"]).length > 0) {
    draft.warn(
      "TlsNotServed",
      "spec.tls: this fleet has no key to seal certificates for, and shows its default one; " +
        "give its config-renderer one with --fleet-key",
    );
  }
  return [];
}

function noteAnnotations(draft: Draft, { invalid, ignored, refused }: AnnotationReading): void {
  for (const message of invalid) draft.warn("AnnotationInvalid", message);
  for (const message of refused) draft.warn("AnnotationRefused", message);
  if (ignored.length > 0) {
    draft.warn(
      "AnnotationsIgnored",
      `metadata.annotations: not supported yet and ignored: ${shortened(ignored)}`,
    );
  }
}

function noteUnused(draft: Draft): void {
  const unused = unusedByCanary(annotationsOf(draft.ingress));
  if (listOf(fieldsOf(draft.ingress.spec)?.["tls"]).length > 0) unused.unshift("spec.tls");
  if (unused.length === 0) return;
  draft.warn(
    "AnnotationsIgnored",
    `a canary has these of the MultiClusterIngress that it stands beside, and its own are not used: ${shortened(unused)}`,
  );
}

/** @returns whether it asks for protection that cannot be given: then it takes no request */
function refusesCanary(draft: Draft, { protection }: AnnotationReading): boolean {
  if (protection.length === 0) return false;
  const problem = `metadata.annotations: protection that cannot be given: ${shortened(protection)}`;
  draft.warn("ProtectionRefused", `${problem}; it takes no request until this is mended or removed`);
  return true;
}

/** Runs last: protection that cannot be given closes every path, whatever the steps before made of it. */
function refuseUnprotected(draft: Draft, { protection }: AnnotationReading, more: string | null): void {
  const why = more === null ? protection : [...protection, more];
  if (why.length === 0) return;
  const problem = `metadata.annotations: protection that cannot be given: ${shortened(why)}`;
  draft.warn("ProtectionRefused", `${problem}; all paths answer 503 until this is mended or removed`);
  draft.paths = draft.paths.map(({ redirect: _, spare: __, ...path }) => ({
    ...path,
    backend: { kind: "none", problem },
  }));
}

function shortened(names: readonly string[]): string {
  const shown = names.slice(0, 8).join(", ");
  return names.length > 8 ? `${shown} and ${names.length - 8} more` : shown;
}
