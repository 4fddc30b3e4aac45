import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { equalJson, type JsonObject, type KubeObject, objectAt } from "../json.ts";
import { int32, listMap, mapOf, obj, str } from "../schema/schema.ts";
import { parseFields, printFields } from "./field-set.ts";
import { applyConfig } from "./managed-fields.ts";

const schema = obj({
  spec: obj({ size: str, labels: mapOf(str), ports: listMap(obj({ port: int32, name: str }), ["port"]) }),
});

const spec = fc.record(
  {
    size: fc.constantFrom("small", "large"),
    labels: fc.dictionary(fc.constantFrom("x", "y"), fc.constantFrom("1", "2"), {
      noNullPrototype: true,
      minKeys: 1,
    }),
    ports: fc.uniqueArray(fc.record({ port: fc.constantFrom(80, 81, 82), name: fc.constantFrom("a", "b") }), {
      selector: ({ port }) => port,
      minLength: 1,
    }),
  },
  { requiredKeys: [], noNullPrototype: true },
);

function config(body: JsonObject): KubeObject {
  return { apiVersion: "example.test/v1", kind: "Gadget", metadata: { name: "one" }, spec: body };
}

function applied(live: KubeObject, body: JsonObject, name: string): KubeObject {
  const manager = { name, operation: "Apply", apiVersion: "example.test/v1", subresource: "" } as const;
  const options = { force: true, now: "2026-01-01T00:00:00Z" };
  const { object, managedFields } = applyConfig(live, config(body), schema, manager, options);
  return { ...object, metadata: { ...object.metadata, managedFields } };
}

function contains(value: unknown, part: unknown): boolean {
  if (Array.isArray(part)) {
    return Array.isArray(value) && part.every((item) => value.some((own) => contains(own, item)));
  }
  if (typeof part !== "object" || part === null) return value === part;
  return Object.entries(part).every(([key, member]) => contains((value as JsonObject)[key], member));
}

test("after a forced apply the object says all that the last manager said, whoever said what before", () => {
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.constantFrom("first", "second", "third"), spec), { minLength: 1 }),
      (steps) => {
        let object: KubeObject = { apiVersion: "example.test/v1", kind: "Gadget", metadata: { name: "one" } };
        for (const [manager, body] of steps) {
          object = applied(object, body, manager);
          assert.ok(contains(objectAt(object, "spec"), body), JSON.stringify({ object, body }));
        }
      },
    ),
  );
});

test("applying the same again changes nothing, and a manager that is alone leaves nothing of its past", () => {
  fc.assert(
    fc.property(spec, spec, (before, after) => {
      const blank: KubeObject = { apiVersion: "example.test/v1", kind: "Gadget", metadata: { name: "one" } };
      const first = applied(applied(blank, before, "only"), after, "only");
      assert.ok(equalJson(applied(first, after, "only"), first));
      const left = objectAt(first, "spec");
      for (const field of ["size"] as const) assert.equal(left[field], after[field]);
      assert.deepEqual(objectAt(left, "labels"), after.labels ?? {});
      const ports = (left.ports ?? []) as { port: number }[];
      assert.deepEqual(
        new Set(ports.map(({ port }) => port)),
        new Set((after.ports ?? []).map(({ port }) => port)),
      );
    }),
  );
});

test("fields survive being written as FieldsV1 and read again", () => {
  const fields = { "f:spec": { "f:ports": { 'k:{"port":80}': { ".": {}, "f:name": {} } }, "f:size": {} } };
  assert.deepEqual(printFields(parseFields(fields)), fields);
});
