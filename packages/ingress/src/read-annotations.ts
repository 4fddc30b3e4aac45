import type { Annotation } from "./annotations/annotation.ts";
import { type Group, groups, type Policies } from "./annotations/groups.ts";
import { findRefused } from "./annotations/refused.ts";
import { ALWAYS_IN_CLEAR } from "./https-redirect.ts";
import { quote } from "./objects.ts";

/** Whether an object is asked for as the ConfigMap says for all. */
const GLOBAL_AUTH = "enable-global-auth";
const PREFIX = "nginx.ingress.kubernetes.io/";

interface Known {
  readonly group: keyof Policies;
  readonly annotation: Pick<Annotation<object>, "unsaid" | "read" | "protects">;
}

const known = new Map<string, Known>();
for (const [group, { annotations }] of Object.entries(groups) as [keyof Policies, Group<unknown>][]) {
  for (const annotation of annotations) known.set(annotation.name, { group, annotation });
}

export interface AnnotationReading {
  readonly policies: Policies;
  /** One line for each whose text is not of its shape; its default holds. */
  readonly invalid: readonly string[];
  /** Full names that this version gives no meaning, sorted. */
  readonly ignored: readonly string[];
  /** One line for each that is never given a meaning, with the reason. */
  readonly refused: readonly string[];
  /** Full names of those that ask for protection that cannot be given, each with why: their MCI must not be served without it. */
  readonly protection: readonly string[];
  /** All that ask for protection, whether it can be given or not, by full name. */
  readonly guards: ReadonlyMap<string, string>;
}

/** What holds for objects that do not say it themselves. */
export interface AnnotationDefaults {
  readonly policies: Policies;
  /** Of a service that all are asked by; it goes as a whole where an object has its own. */
  readonly auth: Policies["access"];
  /** As they were written, by the name of their annotation. */
  readonly texts: ReadonlyMap<string, string>;
  /** Asked for all and not to be given: `why`, and the annotations by which an object says it itself. */
  readonly protection: readonly { readonly why: string; readonly unless: readonly string[] }[];
  /** No annotation may hold these. */
  readonly forbidden: readonly string[];
  /** Beginnings of paths that are served in clear, whatever their object says. */
  readonly inClear: readonly string[];
  /** Headers that answers may be given, in lower case. */
  readonly answerHeaders: ReadonlySet<string>;
}

function nothingSaid(): Record<keyof Policies, object> {
  return Object.fromEntries(Object.keys(groups).map((group) => [group, {}])) as Record<
    keyof Policies,
    object
  >;
}

export const noDefaults: AnnotationDefaults = {
  policies: nothingSaid() as Policies,
  auth: {},
  texts: new Map(),
  protection: [],
  forbidden: [],
  inClear: ALWAYS_IN_CLEAR,
  answerHeaders: new Set(),
};

/** The annotation of this name that has a meaning; undefined: none has. */
export function annotationNamed(name: string): Known | undefined {
  return known.get(name);
}

/** What an object has that says nothing of it. */
function begun(
  annotations: ReadonlyMap<string, string>,
  { policies, auth, protection }: AnnotationDefaults,
): { policies: Record<keyof Policies, object>; protection: string[] } {
  const says = (name: string) => (annotations.get(PREFIX + name) ?? "").trim() !== "";
  const globalAuth = known.get(GLOBAL_AUTH)?.annotation.read(annotations.get(PREFIX + GLOBAL_AUTH) ?? "");
  const exempt = globalAuth?.ok === true && (globalAuth.said as Policies["access"]).globalAuth === false;
  const own = nothingSaid();
  for (const [group, said] of Object.entries(policies)) Object.assign(own[group as keyof Policies], said);
  if (!exempt && !says("auth-url")) Object.assign(own.access, auth);
  const closed = protection.filter(
    ({ unless }) => !unless.some(says) && !(exempt && unless.includes("auth-url")),
  );
  return { policies: own, protection: closed.map(({ why }) => why) };
}

/** Which annotations of ingress-nginx an MCI carries, told apart by what leaving them out would mean. */
export function readAnnotations(
  annotations: ReadonlyMap<string, string>,
  defaults: AnnotationDefaults = noDefaults,
): AnnotationReading {
  const { policies, protection } = begun(annotations, defaults);
  const ignored: string[] = [];
  const refused: string[] = [];
  const invalid: string[] = [];
  const guards = new Map<string, string>();
  for (const [key, value] of [...annotations].sort(([a], [b]) => (a < b ? -1 : 1))) {
    if (!key.startsWith(PREFIX)) continue;
    const name = key.slice(PREFIX.length);
    const word = defaults.forbidden.find((each) => value.includes(each));
    if (word !== undefined) protection.push(`${key} (holds ${quote(word)}, which the ConfigMap forbids)`);
    const found = known.get(name);
    if (found === undefined) {
      const refusal = value.trim() === "" ? undefined : findRefused(name);
      if (refusal === undefined) ignored.push(key);
      else if (refusal.protects(value)) {
        guards.set(key, value);
        protection.push(`${key} (${refusal.why})`);
      } else refused.push(`metadata.annotations[${key}] is not used: ${refusal.why}`);
      continue;
    }
    // ingress-nginx reads an empty value as not set.
    if (value.trim() === "") continue;
    const { group, annotation } = found;
    if (annotation.protects === true) guards.set(key, value);
    const reading = annotation.read(value);
    if (reading.ok) {
      Object.assign(policies[group], reading.said);
      continue;
    }
    if (annotation.protects === true) {
      protection.push(`${key} (${quote(value)} ${reading.why})`);
      continue;
    }
    const { meanwhile } = reading;
    if (meanwhile !== undefined) Object.assign(policies[group], meanwhile.said);
    const fallback = defaults.texts.get(name) ?? annotation.unsaid;
    const unsaid = fallback === "" ? "it is as if it were not there" : `${fallback} holds`;
    const instead = meanwhile?.what ?? unsaid;
    invalid.push(`metadata.annotations[${key}]: ${quote(value)} ${reading.why}; ${instead} until then`);
  }
  return { policies: policies as Policies, invalid, ignored, refused, protection, guards };
}
