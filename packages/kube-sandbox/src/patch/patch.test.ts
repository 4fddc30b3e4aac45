import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { isObject, type Json, type JsonObject } from "../json.ts";
import { listMap, obj, setOf, str } from "../schema/schema.ts";
import { ApiError } from "../status.ts";
import { applyJsonPatch } from "./json-patch.ts";
import { applyMergePatch } from "./merge-patch.ts";
import { applyStrategicPatch } from "./strategic-merge-patch.ts";

const documents: { [behaviour: string]: [before: JsonObject, patch: Json, after: JsonObject] } = {
  "add puts into an array before an index": [
    { a: [1, 3] },
    [{ op: "add", path: "/a/1", value: 2 }],
    { a: [1, 2, 3] },
  ],
  "add with a dash appends": [{ a: [1] }, [{ op: "add", path: "/a/-", value: 2 }], { a: [1, 2] }],
  "move takes from one place to another": [
    { a: { b: 1 } },
    [{ op: "move", from: "/a/b", path: "/c" }],
    { a: {}, c: 1 },
  ],
  "copy leaves the source": [{ a: 1 }, [{ op: "copy", from: "/a", path: "/b" }], { a: 1, b: 1 }],
  "escapes stand for slash and tilde": [
    { "a/b": 1, "c~d": 2 },
    [{ op: "remove", path: "/a~1b" }],
    { "c~d": 2 },
  ],
  "a test that holds changes nothing": [
    { a: { b: [1] } },
    [{ op: "test", path: "/a", value: { b: [1] } }],
    { a: { b: [1] } },
  ],
};

for (const [behaviour, [before, patch, after]] of Object.entries(documents)) {
  test(`JSON patch: ${behaviour}`, () => {
    const kept = structuredClone(before);
    assert.deepEqual(applyJsonPatch(before, patch), after);
    assert.deepEqual(before, kept, "the document itself is left alone");
  });
}

for (const operation of [
  { op: "remove", path: "/none" },
  { op: "replace", path: "/none", value: 1 },
  { op: "test", path: "/a", value: 2 },
  { op: "add", path: "/a/b/c", value: 1 },
  { op: "add", path: "/list/7", value: 1 },
]) {
  test(`JSON patch refuses ${operation.op} ${operation.path} with 422`, () => {
    const apply = () => applyJsonPatch({ a: 1, list: [] }, [operation]);
    assert.throws(apply, (error) => error instanceof ApiError && error.code === 422);
  });
}

/** What takes one document to another by RFC 7396; null is not sayable there, so no document has it. */
function difference(before: JsonObject, after: JsonObject): JsonObject {
  const patch: JsonObject = {};
  for (const key of Object.keys(before)) if (!(key in after)) patch[key] = null;
  for (const [key, value] of Object.entries(after)) {
    const old = before[key];
    patch[key] = isObject(old) && isObject(value) ? difference(old, value) : value;
  }
  return patch;
}

const withoutNull = fc.letrec<{ value: Json; object: JsonObject }>((tie) => ({
  value: fc.oneof(
    { depthSize: "small" },
    fc.integer(),
    fc.string(),
    fc.boolean(),
    fc.array(fc.integer()),
    tie("object"),
  ),
  object: fc.dictionary(fc.constantFrom("a", "b", "c", "d"), tie("value"), { noNullPrototype: true }),
})).object;

test("a merge patch made from two documents takes one to the other", () => {
  fc.assert(
    fc.property(withoutNull, withoutNull, (before, after) => {
      assert.deepEqual(applyMergePatch(before, difference(before, after)), after);
    }),
  );
});

test("a strategic merge patch obeys keys, sets, order and its directives", () => {
  const schema = obj({ items: listMap(obj({ name: str, value: str }), ["name"]), tags: setOf(str) });
  const before = {
    items: [
      { name: "a", value: "1" },
      { name: "b", value: "2" },
    ],
    tags: ["x", "y"],
  };
  const apply = (patch: JsonObject) => applyStrategicPatch(before, patch, schema);
  assert.deepEqual(apply({ items: [{ name: "b", value: "3" }, { name: "c" }] }).items, [
    { name: "a", value: "1" },
    { name: "b", value: "3" },
    { name: "c" },
  ]);
  assert.deepEqual(apply({ items: [{ name: "a", $patch: "delete" }] }).items, [{ name: "b", value: "2" }]);
  assert.deepEqual(apply({ items: [{ $patch: "replace" }, { name: "z" }] }).items, [{ name: "z" }]);
  assert.deepEqual(apply({ tags: ["z"], "$deleteFromPrimitiveList/tags": ["x"] }).tags, ["y", "z"]);
  const ordered = apply({ "$setElementOrder/items": [{ name: "b" }, { name: "a" }] }).items;
  assert.deepEqual(ordered, [
    { name: "b", value: "2" },
    { name: "a", value: "1" },
  ]);
});
