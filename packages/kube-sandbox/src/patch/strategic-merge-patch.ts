import { copyJson, equalJson, isObject, type Json, type JsonObject } from "../json.ts";
import { fieldSchema, type Schema } from "../schema/schema.ts";
import { badRequest } from "../status.ts";

const ORDER = "$setElementOrder/";
const DELETED = "$deleteFromPrimitiveList/";

/** A strategic merge patch: lists merge by the key that the schema names, `$patch` and its relatives are obeyed. */
export function applyStrategicPatch(
  document: JsonObject,
  patch: JsonObject,
  schema: Schema | undefined,
): JsonObject {
  const directive = patch.$patch;
  if (directive === "replace") {
    const { $patch: _directive, ...rest } = patch;
    return copyJson(rest);
  }
  if (directive === "delete") return {};
  if (directive !== undefined && directive !== "merge")
    throw badRequest(`Unknown patch type found: ${String(directive)}`);
  const result: JsonObject = { ...document };
  for (const [field, value] of Object.entries(patch)) {
    if (field.startsWith("$") || value === undefined) continue;
    if (value === null) delete result[field];
    else result[field] = merge(result[field], value, fieldSchema(schema, field));
  }
  retainKeys(result, patch);
  for (const [field, value] of Object.entries(patch)) {
    if (field.startsWith(DELETED) && Array.isArray(value)) {
      const name = field.slice(DELETED.length);
      const list = result[name];
      if (Array.isArray(list))
        result[name] = list.filter((item) => !value.some((gone) => equalJson(gone, item)));
    } else if (field.startsWith(ORDER) && Array.isArray(value)) {
      const name = field.slice(ORDER.length);
      const list = result[name];
      if (Array.isArray(list)) result[name] = ordered(list, value, fieldSchema(schema, name));
    }
  }
  return result;
}

function retainKeys(result: JsonObject, patch: JsonObject): void {
  const keys = patch.$retainKeys;
  if (!Array.isArray(keys)) return;
  for (const field of Object.keys(result)) if (!keys.includes(field)) delete result[field];
}

function merge(old: Json | undefined, value: Json, schema: Schema | undefined): Json {
  if (isObject(value)) return applyStrategicPatch(isObject(old) ? old : {}, value, schema);
  if (!Array.isArray(value)) return value;
  if (schema?.["x-kubernetes-patch-strategy"] !== "merge") return copyJson(value);
  const list = Array.isArray(old) ? old : [];
  const key = schema["x-kubernetes-patch-merge-key"];
  return key === undefined ? mergeValuesOnly(list, value) : mergeByKey(list, value, key, schema);
}

function mergeValuesOnly(old: Json[], value: Json[]): Json[] {
  return [...old, ...value.filter((item) => !old.some((known) => equalJson(known, item)))];
}

function mergeByKey(old: Json[], patch: Json[], key: string, schema: Schema): Json[] {
  if (patch.some((item) => isObject(item) && item.$patch === "replace")) {
    return copyJson(patch.filter((item) => !(isObject(item) && item.$patch !== undefined)));
  }
  let result = [...old];
  for (const item of patch) {
    if (!isObject(item)) throw badRequest(`expected an object in a list merged by ${key}`);
    const id = item[key];
    if (id === undefined)
      throw badRequest(`map: ${JSON.stringify(item)} does not contain declared merge key: ${key}`);
    const at = result.findIndex((known) => isObject(known) && equalJson(known[key], id));
    if (item.$patch === "delete") {
      result = result.filter((known) => !(isObject(known) && equalJson(known[key], id)));
    } else {
      const known = result[at];
      const merged = applyStrategicPatch(isObject(known) ? known : {}, item, schema.items);
      if (at < 0) result.push(merged);
      else result[at] = merged;
    }
  }
  return result;
}

/** Items that the order names come in that order; the others keep their place after what stood before them. */
function ordered(list: Json[], order: Json[], schema: Schema | undefined): Json[] {
  const key = schema?.["x-kubernetes-patch-merge-key"];
  const idOf = (item: Json): Json | undefined => (key !== undefined && isObject(item) ? item[key] : item);
  const rank = (item: Json) => order.findIndex((wanted) => equalJson(idOf(wanted), idOf(item)));
  const named = list.filter((item) => rank(item) >= 0).sort((a, b) => rank(a) - rank(b));
  const result: Json[] = [...named];
  list.forEach((item, i) => {
    if (rank(item) >= 0) return;
    const before = list[i - 1];
    const at = before === undefined ? 0 : result.indexOf(before) + 1;
    result.splice(at, 0, item);
  });
  return result;
}
