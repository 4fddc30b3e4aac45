import { isObject, type JsonObject } from "../json.ts";

/**
 * A set of field paths as FieldsV1 writes them: one node per step (`f:spec`, `k:{"port":80}`, `v:"x"`).
 * `member` says that the path up to this node is itself in the set.
 */
export interface FieldSet {
  member: boolean;
  children: Map<string, FieldSet>;
}

export function emptySet(): FieldSet {
  return { member: false, children: new Map() };
}

export function leaf(): FieldSet {
  return { member: true, children: new Map() };
}

export function isEmpty(set: FieldSet): boolean {
  return !set.member && set.children.size === 0;
}

export function parseFields(fields: unknown): FieldSet {
  const set = emptySet();
  if (!isObject(fields)) return set;
  for (const [step, below] of Object.entries(fields)) {
    if (step === ".") set.member = true;
    else {
      const child = parseFields(below);
      // `{}` is the path itself.
      if (isEmpty(child)) child.member = true;
      set.children.set(step, child);
    }
  }
  return set;
}

export function printFields(set: FieldSet): JsonObject {
  const fields: JsonObject = {};
  if (set.member && set.children.size > 0) fields["."] = {};
  for (const step of [...set.children.keys()].sort()) {
    const child = set.children.get(step);
    if (child !== undefined && !isEmpty(child)) fields[step] = printFields(child);
  }
  return fields;
}

function tidy(set: FieldSet): FieldSet {
  for (const [step, child] of set.children) if (isEmpty(child)) set.children.delete(step);
  return set;
}

export function union(a: FieldSet, b: FieldSet): FieldSet {
  const result: FieldSet = { member: a.member || b.member, children: new Map(a.children) };
  for (const [step, child] of b.children) {
    const own = result.children.get(step);
    result.children.set(step, own === undefined ? child : union(own, child));
  }
  return result;
}

/** Paths of `a` that are not in `b`. */
export function difference(a: FieldSet, b: FieldSet): FieldSet {
  const result: FieldSet = { member: a.member && !b.member, children: new Map() };
  for (const [step, child] of a.children) {
    const other = b.children.get(step);
    result.children.set(step, other === undefined ? child : difference(child, other));
  }
  return tidy(result);
}

/** Paths of `a` that are neither in `b` nor below a path of `b`: what is left once those values are gone. */
export function recursiveDifference(a: FieldSet, b: FieldSet): FieldSet {
  if (b.member) return emptySet();
  const result: FieldSet = { member: a.member, children: new Map() };
  for (const [step, child] of a.children) {
    const other = b.children.get(step);
    result.children.set(step, other === undefined ? child : recursiveDifference(child, other));
  }
  return tidy(result);
}

export function intersection(a: FieldSet, b: FieldSet): FieldSet {
  const result: FieldSet = { member: a.member && b.member, children: new Map() };
  for (const [step, child] of a.children) {
    const other = b.children.get(step);
    if (other !== undefined) result.children.set(step, intersection(child, other));
  }
  return tidy(result);
}

/** Member paths, each as its list of steps. */
export function* paths(set: FieldSet, prefix: string[] = []): Generator<string[]> {
  if (set.member && prefix.length > 0) yield prefix;
  for (const [step, child] of set.children) yield* paths(child, [...prefix, step]);
}

/** Whether the set holds `path` or anything below it. */
export function reaches(set: FieldSet, path: string[]): boolean {
  let node: FieldSet | undefined = set;
  for (const step of path) {
    node = node.children.get(step);
    if (node === undefined) return false;
  }
  return !isEmpty(node);
}

/** The path as errors show it: `.spec.ports[port=80,protocol="TCP"].targetPort`. */
export function printPath(path: string[]): string {
  return path
    .map((step) => {
      const rest = step.slice(2);
      if (step.startsWith("f:")) return `.${rest}`;
      if (step.startsWith("v:")) return `[=${rest}]`;
      const key: unknown = JSON.parse(rest);
      const parts = isObject(key) ? Object.entries(key).map(([k, v]) => `${k}=${JSON.stringify(v)}`) : [];
      return `[${parts.join(",")}]`;
    })
    .join("");
}
