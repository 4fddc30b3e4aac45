import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { sameJson } from "./same-json.ts";

/** Fields in alphabetical order at every depth. */
function canonical(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(canonical);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(
    Object.entries(value)
      // By name alone: as text an entry may hold anything, even a toString that is none.
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([name, inner]) => [name, canonical(inner)]),
  );
}

const text = (value: unknown) => JSON.stringify(canonical(value));
// -0 and 0 are one text in JSON, and so they are the same here.
const json = fc.jsonValue({ maxDepth: 3 }).map((value) => JSON.parse(JSON.stringify(value)) as unknown);

test("two values are the same when their texts are, whatever the order of fields", () => {
  fc.assert(
    fc.property(json, json, (a, b) => {
      assert.equal(sameJson(a, b), text(a) === text(b));
      assert.ok(sameJson(a, JSON.parse(JSON.stringify(a))));
      assert.ok(sameJson(a, canonical(a)));
    }),
    { numRuns: 1000 },
  );
});

test("values with fields that objects have of their own are compared like any other", () => {
  const odd = JSON.parse('{"toString": null, "__proto__": {"a": 1}, "hasOwnProperty": 1}') as unknown;
  assert.ok(sameJson(odd, canonical(odd)));
  assert.ok(!sameJson(odd, {}));
  assert.ok(!sameJson({}, odd));
});

test("a field that is undefined is not there", () => {
  assert.ok(sameJson({ a: 1, b: undefined }, { a: 1 }));
  assert.ok(sameJson({ a: 1 }, { a: 1, b: undefined }));
  assert.ok(!sameJson({ a: 1, b: undefined }, { a: 1, c: 2 }));
  assert.ok(!sameJson({ a: undefined, c: 2 }, { a: 1 }));
  assert.ok(!sameJson([], {}));
});
