import { isObject, type KubeObject, textAt } from "../json.ts";
import { badRequest } from "../status.ts";

export type Predicate = (object: KubeObject) => boolean;

/** What `labelSelector` says: `a=b`, `a==b`, `a!=b`, `a in (b,c)`, `a notin (b)`, `a`, `!a`, joined by commas. */
export function parseLabelSelector(text: string): Predicate | undefined {
  if (text.trim() === "") return undefined;
  const terms = splitTerms(text).map(parseLabelTerm);
  return ({ metadata }) => terms.every((term) => term(metadata.labels ?? {}));
}

type LabelTerm = (labels: { [key: string]: string }) => boolean;

function parseLabelTerm(raw: string): LabelTerm {
  const text = raw.trim();
  const sets = /^(\S+)\s+(in|notin)\s+\(([^)]*)\)$/.exec(text);
  if (sets !== null) {
    const [, key = "", operator, values = ""] = sets;
    const wanted = new Set(values.split(",").map((value) => value.trim()));
    if (operator === "in") return (labels) => labels[key] !== undefined && wanted.has(labels[key]);
    return (labels) => labels[key] === undefined || !wanted.has(labels[key]);
  }
  const pair = /^([^=!\s]+)\s*(==|=|!=)\s*(\S*)$/.exec(text);
  if (pair !== null) {
    const [, key = "", operator, value = ""] = pair;
    return operator === "!=" ? (labels) => labels[key] !== value : (labels) => labels[key] === value;
  }
  const absent = /^!\s*([^=!\s]+)$/.exec(text);
  if (absent !== null) return (labels) => labels[absent[1] ?? ""] === undefined;
  if (/^[^=!\s()]+$/.test(text)) return (labels) => labels[text] !== undefined;
  throw badRequest(`unable to parse requirement: found '${text}', expected: a label selector`);
}

/** Commas inside parentheses belong to a set. */
function splitTerms(text: string): string[] {
  return text.split(/,(?![^(]*\))/);
}

/** Fields that each resource can be selected by, beside metadata.name and metadata.namespace. */
const SELECTABLE: { [resource: string]: string[] } = {
  pods: [
    "spec.nodeName",
    "spec.restartPolicy",
    "spec.schedulerName",
    "spec.serviceAccountName",
    "status.phase",
    "status.podIP",
    "status.nominatedNodeName",
  ],
  events: [
    "involvedObject.kind",
    "involvedObject.namespace",
    "involvedObject.name",
    "involvedObject.uid",
    "involvedObject.apiVersion",
    "involvedObject.resourceVersion",
    "involvedObject.fieldPath",
    "reason",
    "reportingComponent",
    "source",
    "type",
  ],
  namespaces: ["status.phase"],
  nodes: ["spec.unschedulable"],
  secrets: ["type"],
  services: ["spec.clusterIP", "spec.type"],
  "replicasets.apps": ["status.replicas"],
};

/** What `fieldSelector` says; a field that the resource cannot be selected by is a 400, as in Kubernetes. */
export function parseFieldSelector(
  text: string,
  resource: string,
  extra: string[] = [],
): Predicate | undefined {
  if (text.trim() === "") return undefined;
  const allowed = ["metadata.name", "metadata.namespace", ...(SELECTABLE[resource] ?? []), ...extra];
  const terms = text.split(",").map((raw) => {
    const match = /^\s*([^=!\s]+)\s*(==|=|!=)\s*(.*?)\s*$/.exec(raw);
    if (match === null) throw badRequest(`invalid selector: '${raw}'; can't understand '${raw}'`);
    const [, field = "", operator, value = ""] = match;
    if (!allowed.includes(field)) throw badRequest(`field label not supported: ${field}`);
    return { path: field.split("."), value, negated: operator === "!=" };
  });
  return (object) =>
    terms.every(({ path, value, negated }) => (fieldText(object, path) === value) !== negated);
}

/** The field as selectors compare it: absent is the empty string. */
function fieldText(object: KubeObject, path: string[]): string {
  let value: unknown = object;
  if (path[0] === "source") value = textAt(object.source, "component");
  else for (const step of path) value = isObject(value) ? value[step] : undefined;
  return value === undefined || value === null ? "" : String(value);
}

export function both(a: Predicate | undefined, b: Predicate | undefined): Predicate | undefined {
  if (a === undefined) return b;
  if (b === undefined) return a;
  return (object) => a(object) && b(object);
}
