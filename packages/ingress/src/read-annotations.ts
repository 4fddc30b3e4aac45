import type { Annotation } from "./annotations/annotation.ts";
import { type Group, groups, type Policies } from "./annotations/groups.ts";
import { findRefused } from "./annotations/refused.ts";
import { quote } from "./objects.ts";

const PREFIX = "nginx.ingress.kubernetes.io/";

interface Known {
  readonly group: keyof Policies;
  readonly annotation: Pick<Annotation<unknown>, "unsaid" | "read" | "protects">;
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
}

/** Which annotations of ingress-nginx an MCI carries, told apart by what leaving them out would mean. */
export function readAnnotations(annotations: ReadonlyMap<string, string>): AnnotationReading {
  const ignored: string[] = [];
  const refused: string[] = [];
  const protection: string[] = [];
  const invalid: string[] = [];
  const policies = Object.fromEntries(Object.keys(groups).map((group) => [group, {}])) as Record<
    keyof Policies,
    object
  >;
  for (const [key, value] of [...annotations].sort(([a], [b]) => (a < b ? -1 : 1))) {
    if (!key.startsWith(PREFIX)) continue;
    const name = key.slice(PREFIX.length);
    const found = known.get(name);
    if (found === undefined) {
      const refusal = value.trim() === "" ? undefined : findRefused(name);
      if (refusal === undefined) ignored.push(key);
      else if (refusal.protects(value)) protection.push(`${key} (${refusal.why})`);
      else refused.push(`metadata.annotations[${key}] is not used: ${refusal.why}`);
      continue;
    }
    // ingress-nginx reads an empty value as not set.
    if (value.trim() === "") continue;
    const { group, annotation } = found;
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
    const unsaid = annotation.unsaid === "" ? "it is as if it were not there" : `${annotation.unsaid} holds`;
    const instead = meanwhile?.what ?? unsaid;
    invalid.push(`metadata.annotations[${key}]: ${quote(value)} ${reading.why}; ${instead} until then`);
  }
  return { policies: policies as Policies, invalid, ignored, refused, protection };
}
