import { copyJson, equalJson, isObject, type Json, type JsonObject } from "../json.ts";
import { ApiError, badRequest } from "../status.ts";

/** RFC 6902 as kube-apiserver answers it: a failed test or a missing path is 422. */
export function applyJsonPatch(document: JsonObject, patch: unknown): JsonObject {
  if (!Array.isArray(patch))
    throw badRequest("json: cannot unmarshal object into Go value of type jsonpatch.Patch");
  if (patch.length > 10_000) {
    throw new ApiError(
      413,
      "RequestEntityTooLarge",
      "The allowed maximum operations in a JSON patch is 10000",
    );
  }
  let result: Json = copyJson(document);
  for (const operation of patch) {
    if (!isObject(operation)) throw badRequest("json: cannot unmarshal into jsonpatch.Operation");
    result = applyOperation(result, operation);
  }
  if (!isObject(result)) throw refused("the patched document is not an object");
  return result;
}

function applyOperation(document: Json, operation: JsonObject): Json {
  const path = pointer(operation.path);
  const from = () => pointer(operation.from);
  switch (operation.op) {
    case "add":
      return add(document, path, given(operation));
    case "remove":
      return remove(document, path);
    case "replace":
      // The whole document may be replaced, anything else must be there.
      if (path.length === 0) return given(operation);
      return add(remove(document, path), path, given(operation));
    case "move": {
      const moved = read(document, from());
      return add(remove(document, from()), path, moved);
    }
    case "copy":
      return add(document, path, copyJson(read(document, from())));
    case "test":
      if (!equalJson(find(document, path) ?? null, operation.value ?? null)) {
        throw refused(`testing value ${String(operation.path)} failed: test failed`);
      }
      return document;
    default:
      throw refused(`Unexpected kind: ${String(operation.op)}`);
  }
}

function given(operation: JsonObject): Json {
  return copyJson(operation.value ?? null);
}

function refused(why: string): ApiError {
  return new ApiError(
    422,
    "Invalid",
    `the server rejected our request due to an error in our request: ${why}`,
    {},
  );
}

function pointer(path: unknown): string[] {
  if (typeof path !== "string" || (path !== "" && !path.startsWith("/")))
    throw refused("invalid path in patch");
  return path
    .split("/")
    .slice(1)
    .map((token) => token.replaceAll("~1", "/").replaceAll("~0", "~"));
}

function find(document: Json, path: string[]): Json | undefined {
  let value: Json | undefined = document;
  for (const token of path) {
    if (Array.isArray(value)) value = value[Number(token)];
    else value = isObject(value) ? value[token] : undefined;
  }
  return value;
}

function read(document: Json, path: string[]): Json {
  const value = find(document, path);
  if (value === undefined) throw refused(`missing path: /${path.join("/")}`);
  return value;
}

/** A copy along the path only: the rest is shared. */
function edit(document: Json, path: string[], change: (parent: Json, token: string) => Json): Json {
  const [token, ...rest] = path;
  if (token === undefined) throw refused("missing path");
  if (rest.length === 0) return change(document, token);
  const below = read(document, [token]);
  const changed = edit(below, rest, change);
  if (Array.isArray(document)) return document.with(Number(token), changed);
  return isObject(document) ? { ...document, [token]: changed } : document;
}

function add(document: Json, path: string[], value: Json): Json {
  if (path.length === 0) return value;
  return edit(document, path, (parent, token) => {
    if (Array.isArray(parent)) {
      const at = token === "-" ? parent.length : Number(token);
      if (!Number.isInteger(at) || at < 0 || at > parent.length)
        throw refused(`invalid index referenced: ${token}`);
      return parent.toSpliced(at, 0, value);
    }
    if (!isObject(parent)) throw refused(`missing container: /${path.join("/")}`);
    return { ...parent, [token]: value };
  });
}

function remove(document: Json, path: string[]): Json {
  return edit(document, path, (parent, token) => {
    if (Array.isArray(parent)) {
      const at = Number(token);
      if (!Number.isInteger(at) || at < 0 || at >= parent.length)
        throw refused(`invalid index referenced: ${token}`);
      return parent.toSpliced(at, 1);
    }
    if (!isObject(parent) || parent[token] === undefined) {
      throw refused(
        `remove operation does not apply: doc is missing path: /${path.join("/")}: missing value`,
      );
    }
    const { [token]: _gone, ...rest } = parent;
    return rest;
  });
}
