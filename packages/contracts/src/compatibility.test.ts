import assert from "node:assert/strict";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import fc from "fast-check";
import type Type from "typebox";
import { Compile } from "typebox/compile";
import { EnvelopeShape } from "./envelope.ts";
import * as access from "./fleet/access.ts";
import * as balance from "./fleet/balance.ts";
import * as canary from "./fleet/canary.ts";
import * as health from "./fleet/health.ts";
import * as limits from "./fleet/limits.ts";
import * as redirect from "./fleet/redirect.ts";
import * as rollout from "./fleet/rollout.ts";
import * as report from "./fleet/rollout-report.ts";
import * as route from "./fleet/route.ts";
import * as rows from "./fleet/rows.ts";
import * as secret from "./fleet/secret.ts";
import * as settings from "./fleet/settings.ts";
import * as records from "./records.ts";

// A newer writer and an older reader work together, and the other way round: what an earlier Sluice knew of the records
// lies in testdata/schemas, as JSON Schema, one file a release. A file that is there never changes; `FREEZE=NAME
// node --test packages/contracts/src/compatibility.test.ts` adds today's.

const folder = fileURLToPath(new URL("../testdata/schemas/", import.meta.url));

/** The part of JSON Schema that records are written in. */
interface Schema {
  readonly type?: "object" | "array" | "string" | "integer" | "number" | "boolean" | "null";
  readonly anyOf?: readonly Schema[];
  readonly const?: unknown;
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly patternProperties?: Readonly<Record<string, Schema>>;
  readonly required?: readonly string[];
  readonly items?: Schema;
  readonly minItems?: number;
  readonly maxItems?: number;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly minLength?: number;
  readonly maxLength?: number;
  readonly pattern?: string;
}
type Schemas = Readonly<Record<string, Schema>>;

/** Records by name; parts of them stand in them. */
const shapes = {
  ...records,
  ...access,
  ...limits,
  ...balance,
  ...canary,
  ...health,
  ...redirect,
  ...report,
  ...rollout,
  ...route,
  ...rows,
  ...secret,
  ...settings,
};
const today = JSON.parse(JSON.stringify({ ...shapes, Envelope: EnvelopeShape })) as Schemas;

/** Longer than any text that a schema allows without saying so is likely to be cut at. */
const LONG = 5000;
const MANY = 200;

/** Values that a schema allows, its limits among them; objects with fields that nobody knows yet where `more`. */
function valuesOf(schema: Schema, more: boolean): fc.Arbitrary<unknown> {
  if (schema.anyOf !== undefined) return fc.oneof(...schema.anyOf.map((each) => valuesOf(each, more)));
  if (schema.const !== undefined) return fc.constant(schema.const);
  switch (schema.type) {
    case "object":
      return objectsOf(schema, more);
    case "array":
      return arraysOf(schema, more);
    case "string":
      return textsOf(schema);
    case "integer": {
      const { minimum: min = Number.MIN_SAFE_INTEGER, maximum: max = Number.MAX_SAFE_INTEGER } = schema;
      return fc.integer({ min, max });
    }
    case "number": {
      const { minimum: min = -1e15, maximum: max = 1e15 } = schema;
      return fc.double({ min, max, noNaN: true });
    }
    case "boolean":
      return fc.boolean();
    case "null":
      return fc.constant(null);
    default:
      return fc.jsonValue({ maxDepth: 1 });
  }
}

function objectsOf(schema: Schema, more: boolean): fc.Arbitrary<unknown> {
  const { properties = {}, required = [], patternProperties = {} } = schema;
  const fields = Object.fromEntries(
    Object.entries(properties).map(([name, field]) => [name, valuesOf(field, more)]),
  );
  const own = fc.record(fields, { requiredKeys: required.filter((name) => name in fields) });
  const [entries] = Object.values(patternProperties);
  const rest =
    entries !== undefined
      ? fc.dictionary(fc.string({ minLength: 1, maxLength: 8 }), valuesOf(entries, more), { maxKeys: 3 })
      : more
        ? fc.dictionary(fc.constantFrom("zz1", "zz2"), fc.jsonValue({ maxDepth: 1 }), { maxKeys: 2 })
        : fc.constant({});
  return fc.tuple(rest, own).map(([a, b]) => ({ ...a, ...b }));
}

function arraysOf({ items = {}, minItems = 0, maxItems }: Schema, more: boolean): fc.Arbitrary<unknown> {
  const item = valuesOf(items, more);
  const few = fc.array(item, { minLength: minItems, maxLength: Math.min(maxItems ?? 3, minItems + 3) });
  const most = Math.min(maxItems ?? MANY, MANY);
  return fc.oneof(
    { weight: 9, arbitrary: few },
    { weight: 1, arbitrary: item.map((one) => Array.from({ length: most }, () => one)) },
  );
}

function textsOf({ pattern, minLength = 0, maxLength = LONG }: Schema): fc.Arbitrary<unknown> {
  if (pattern !== undefined)
    return fc.stringMatching(new RegExp(pattern), { maxLength: Math.min(maxLength, 64) });
  const few = fc.string({ minLength, maxLength: Math.min(maxLength, minLength + 12) });
  return fc.oneof(
    { weight: 9, arbitrary: few },
    { weight: 1, arbitrary: fc.constant("a".repeat(maxLength)) },
  );
}

/** Something that the writer may write and the reader refuses, in words; null when there is nothing. */
function refused(writer: Schema, reader: Schema): string | null {
  const validator = Compile(reader as Type.TSchema);
  const outcome = fc.check(
    fc.property(valuesOf(writer, true), (value) => validator.Check(value)),
    { numRuns: 150, seed: 1 },
  );
  if (!outcome.failed) return null;
  const [value] = outcome.counterexample ?? [];
  const [first] = validator.Errors(value);
  return `${first?.instancePath || "/"} ${first?.message}: ${JSON.stringify(value).slice(0, 300)}`;
}

if (process.env["FREEZE"]) {
  writeFileSync(`${folder}${process.env["FREEZE"]}.json`, `${JSON.stringify(today, null, 1)}\n`, {
    flag: "wx",
  });
}

const frozen = readdirSync(folder).filter((file) => file.endsWith(".json"));

test("there is something to compare with", () => {
  assert.ok(frozen.length > 0);
});

for (const file of frozen) {
  const then = JSON.parse(readFileSync(folder + file, "utf8")) as Schemas;
  for (const [name, schema] of Object.entries(then)) {
    test(`${name}: what is written today is read by ${file}, and the other way round`, () => {
      const now = today[name];
      assert.ok(now !== undefined, `${name} is no more: its readers still run`);
      assert.equal(refused(now, schema), null, "an older reader refuses what a newer writer writes");
      assert.equal(refused(schema, now), null, "a newer reader refuses what an older writer writes");
    });
  }
}

test("a field that is removed, added as required, narrowed or of another type is found, an optional one is not", () => {
  const before: Schema = {
    type: "object",
    required: ["name", "state", "peers"],
    properties: {
      name: { type: "string", minLength: 1, maxLength: 253 },
      state: { anyOf: [{ const: "ok" }, { const: "stale" }] },
      peers: {
        type: "array",
        items: { type: "object", required: ["port"], properties: { port: { type: "integer" } } },
      },
      reason: { type: "string" },
    },
  };
  const changed = (properties: Schemas, required = before.required ?? []): Schema => ({
    ...before,
    required,
    properties: { ...before.properties, ...properties },
  });
  const both = (after: Schema) => refused(after, before) ?? refused(before, after);
  assert.equal(both(before), null);
  assert.equal(both(changed({ since: { type: "number" } })), null);
  const { state: _, ...rest } = before.properties ?? {};
  const table: [string, Schema, RegExp][] = [
    ["removed", { ...before, required: ["name", "peers"], properties: rest }, /state/],
    ["made optional", changed({}, ["name", "peers"]), /state/],
    [
      "new and required",
      changed({ since: { type: "number" } }, ["name", "state", "peers", "since"]),
      /since/,
    ],
    ["another type", changed({ reason: { type: "number" } }), /reason/],
    [
      "one more state",
      changed({ state: { anyOf: [{ const: "ok" }, { const: "stale" }, { const: "down" }] } }),
      /state/,
    ],
    ["one state less", changed({ state: { anyOf: [{ const: "ok" }] } }), /state/],
    ["longer texts", changed({ name: { type: "string", minLength: 1, maxLength: 1024 } }), /name/],
    ["fewer items", changed({ peers: { ...before.properties?.["peers"], maxItems: 2 } }), /peers/],
    [
      "deep within",
      changed({
        peers: {
          type: "array",
          items: { type: "object", required: ["port"], properties: { port: { type: "string" } } },
        },
      }),
      /port/,
    ],
  ];
  for (const [what, after, where] of table) assert.match(both(after) ?? `${what}: not found`, where, what);
});
