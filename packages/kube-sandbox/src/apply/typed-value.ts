import { equalJson, isObject, type Json, type JsonObject } from "../json.ts";
import { fieldSchema, type Schema } from "../schema/schema.ts";
import { emptySet, type FieldSet, leaf } from "./field-set.ts";

/** How the members of a value are owned: one by one, by key, as a set of values, or all of it as one. */
type Shape = "granular" | "keyed" | "values" | "atomic";

function shapeOf(value: Json, schema: Schema | undefined): Shape {
  if (isObject(value)) return schema?.["x-kubernetes-map-type"] === "atomic" ? "atomic" : "granular";
  if (!Array.isArray(value)) return "atomic";
  switch (schema?.["x-kubernetes-list-type"]) {
    case "map":
      return "keyed";
    case "set":
      return "values";
    default:
      return "atomic";
  }
}

/** The step that leads to a list's item: its key fields (defaults filled in), or its value. */
function itemStep(item: Json, schema: Schema | undefined): string {
  if (schema?.["x-kubernetes-list-type"] === "set") return `v:${JSON.stringify(item)}`;
  const key: JsonObject = {};
  for (const name of [...(schema?.["x-kubernetes-list-map-keys"] ?? [])].sort()) {
    const value = (isObject(item) ? item[name] : undefined) ?? schema?.items?.properties?.[name]?.default;
    if (value !== undefined) key[name] = value;
  }
  return `k:${JSON.stringify(key)}`;
}

/** The fields that a value sets: leaves, items of keyed lists, atomic values whole. */
export function fieldsOf(value: Json, schema: Schema | undefined): FieldSet {
  const set = emptySet();
  switch (shapeOf(value, schema)) {
    case "atomic":
      return leaf();
    case "granular":
      if (!isObject(value)) return leaf();
      for (const [name, member] of Object.entries(value)) {
        if (member === undefined) continue;
        const child = fieldsOf(member, fieldSchema(schema, name));
        const empty = isObject(member) && Object.keys(member).length === 0;
        if (member === null || empty || schema?.properties?.[name] === undefined) child.member = true;
        set.children.set(`f:${name}`, child);
      }
      return set;
    default:
      if (!Array.isArray(value)) return leaf();
      for (const item of value) {
        const child = fieldsOf(item, schema?.items);
        child.member = true;
        set.children.set(itemStep(item, schema), child);
      }
      return set;
  }
}

export interface Comparison {
  /** Added or given another value. */
  changed: FieldSet;
  removed: FieldSet;
}

export function compareValues(
  before: Json | undefined,
  after: Json | undefined,
  schema: Schema | undefined,
): Comparison {
  if (after === undefined) {
    return { changed: emptySet(), removed: before === undefined ? emptySet() : everything(before, schema) };
  }
  if (before === undefined) return { changed: everything(after, schema), removed: emptySet() };
  if (equalJson(before, after)) return { changed: emptySet(), removed: emptySet() };
  const shape = shapeOf(after, schema);
  if (shape === "atomic" || shapeOf(before, schema) !== shape)
    return { changed: leaf(), removed: emptySet() };
  const [from, to] = [membersOf(before, schema), membersOf(after, schema)];
  const changed = emptySet();
  const removed = emptySet();
  for (const step of new Set([...from.keys(), ...to.keys()])) {
    const [old, now] = [from.get(step), to.get(step)];
    const below = compareValues(old?.value, now?.value, (now ?? old)?.schema);
    if (below.changed.member || below.changed.children.size > 0) changed.children.set(step, below.changed);
    if (below.removed.member || below.removed.children.size > 0) removed.children.set(step, below.removed);
  }
  return { changed, removed };
}

/** A value that comes or goes whole: its own path as well as all the fields in it. */
function everything(value: Json, schema: Schema | undefined): FieldSet {
  const set = fieldsOf(value, schema);
  // A declared struct is no field of its own, its members are; maps and items are both.
  if (schema?.properties === undefined || !isObject(value)) set.member = true;
  return set;
}

interface Member {
  value: Json;
  schema: Schema | undefined;
}

function membersOf(value: Json, schema: Schema | undefined): Map<string, Member> {
  const members = new Map<string, Member>();
  if (Array.isArray(value)) {
    for (const item of value) members.set(itemStep(item, schema), { value: item, schema: schema?.items });
  } else if (isObject(value)) {
    for (const [name, member] of Object.entries(value)) {
      if (member !== undefined)
        members.set(`f:${name}`, { value: member, schema: fieldSchema(schema, name) });
    }
  }
  return members;
}

/** `live` with everything that `config` says; lists by their keys, new items after the old ones. */
export function mergeValues(live: Json | undefined, config: Json, schema: Schema | undefined): Json {
  if (live === undefined) return config;
  const shape = shapeOf(config, schema);
  if (shape === "atomic" || shapeOf(live, schema) !== shape) return config;
  if (isObject(config) && isObject(live)) {
    const merged: JsonObject = { ...live };
    for (const [name, member] of Object.entries(config)) {
      if (member === undefined) continue;
      if (member === null) delete merged[name];
      else merged[name] = mergeValues(live[name], member, fieldSchema(schema, name));
    }
    return merged;
  }
  if (!Array.isArray(config) || !Array.isArray(live)) return config;
  const wanted = new Map(config.map((item) => [itemStep(item, schema), item] as const));
  const merged: Json[] = [];
  for (const item of live) {
    const step = itemStep(item, schema);
    const ours = wanted.get(step);
    merged.push(ours === undefined ? item : mergeValues(item, ours, schema?.items));
    wanted.delete(step);
  }
  return [...merged, ...wanted.values()];
}

/** `value` without the path `steps`; what is not there is left alone. */
export function withoutPath(value: Json, steps: string[], schema: Schema | undefined): Json {
  const [step, ...rest] = steps;
  if (step === undefined) return value;
  if (isObject(value) && step.startsWith("f:")) {
    const name = step.slice(2);
    const member = value[name];
    if (member === undefined) return value;
    const { [name]: _gone, ...others } = value;
    if (rest.length === 0) return others;
    return { ...value, [name]: withoutPath(member, rest, fieldSchema(schema, name)) };
  }
  if (!Array.isArray(value)) return value;
  const at = value.findIndex((item) => itemStep(item, schema) === step);
  const item = value[at];
  if (item === undefined) return value;
  if (rest.length === 0) return value.toSpliced(at, 1);
  return value.with(at, withoutPath(item, rest, schema?.items));
}

/** The first field that the schema does not declare, or a list key given twice; as structured-merge-diff words it. */
export function misfit(value: Json, schema: Schema | undefined, path = ""): string | undefined {
  if (schema === undefined || schema["x-kubernetes-preserve-unknown-fields"]) return undefined;
  if (isObject(value)) {
    const closed = schema.properties !== undefined && schema.additionalProperties === undefined;
    for (const [name, member] of Object.entries(value)) {
      if (member === undefined) continue;
      const below = fieldSchema(schema, name);
      if (below === undefined && closed) return `${path}.${name}: field not declared in schema`;
      const found = misfit(member, below, `${path}.${name}`);
      if (found !== undefined) return found;
    }
  } else if (Array.isArray(value)) {
    const keyed = shapeOf(value, schema) === "keyed";
    const seen = new Set<string>();
    for (const [i, item] of value.entries()) {
      const step = itemStep(item, schema);
      if (keyed && seen.has(step)) return `${path}: duplicate entries for key [${step.slice(3, -1)}]`;
      seen.add(step);
      const found = misfit(item, schema.items, keyed ? `${path}[${step.slice(3, -1)}]` : `${path}[${i}]`);
      if (found !== undefined) return found;
    }
  }
  return undefined;
}
