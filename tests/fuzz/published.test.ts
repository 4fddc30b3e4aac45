// What becomes of each published input by itself; the table of docs/reference/fuzz.md is made from it.
import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { test } from "node:test";
import type { RouteRow } from "@sluice/contracts";
import { buildFleet, type KubeObject } from "@sluice/ingress";
import { SeededRandom } from "../simulation/seeded-random.ts";
import { objectOf, publishedObject } from "./certain-objects.ts";
import { hostileObject } from "./hostile-object.ts";
import { type PublishedInput, published } from "./published.ts";

interface Outcome {
  /** Reasons of what is told, in order. */
  readonly told: readonly string[];
  readonly routes: readonly RouteRow[];
}

function outcomeOf(input: PublishedInput): Outcome {
  const { ingresses, imports } = publishedObject(input);
  const { rows, verdicts } = buildFleet(
    {
      ingresses: ingresses as readonly KubeObject[],
      imports: imports as readonly KubeObject[],
      classes: [],
      peers: [],
      exported: new Map(),
    },
    { fleet: "default", ingressClasses: ["nginx"], watchWithoutClass: false, servesTls: true },
  );
  return {
    told: [...new Set(verdicts.map(({ reason }) => reason))],
    routes: [...rows.values()].filter((row): row is RouteRow => "paths" in row),
  };
}

const CLOSED = new Set(["ProtectionRefused"]);
const LEFT_OUT = new Set(["AnnotationInvalid", "AnnotationRefused", "PathInvalid"]);

function becomes(input: PublishedInput): string {
  const { told } = outcomeOf(input);
  if (told.length > 0) return `${told.map((reason) => `\`${reason}\``).join(", ")}: ${consequence(told)}`;
  return input.taken ?? "";
}

function consequence(told: readonly string[]): string {
  if (told.some((reason) => CLOSED.has(reason))) return "its paths answer 503";
  return told.includes("PathInvalid") ? "this path is left out" : "it is left out";
}

for (const input of published) {
  test(`${input.cve}, ${input.tried}: nothing of it is in a row`, () => {
    const { told, routes } = outcomeOf(input);
    if (input.taken === undefined) {
      assert.ok(told.length > 0, "nobody is told");
      for (const reason of told) assert.ok(CLOSED.has(reason) || LEFT_OUT.has(reason), reason);
      assert.ok(
        !JSON.stringify(routes.map(({ paths }) => paths.map(({ problem: _, ...path }) => path))).includes(
          JSON.stringify(input.text).slice(1, -1),
        ),
      );
    } else assert.deepEqual(told, []);
    const paths = routes.flatMap((route) => route.paths);
    const closed = told.some((reason) => CLOSED.has(reason));
    assert.ok(paths.length > 0);
    for (const { upstream, redirect } of paths) {
      if (redirect === undefined) assert.equal(upstream, closed ? null : "shop-web");
    }
  });
}

test("each run of the fuzz begins with them, then come objects of its seed", () => {
  for (const [i, input] of published.entries()) {
    assert.deepEqual(objectOf(`any-${i + 1}`), publishedObject(input));
  }
  const other = `any-${published.length + 100}`;
  assert.deepEqual(objectOf(other), hostileObject(new SeededRandom(other)));
});

const page = new URL("../../docs/reference/fuzz.md", import.meta.url);
const [BEGIN, END] = [
  "<!-- Made from the published inputs and what becomes of them. -->\n",
  "<!-- Until here. -->",
];

test("docs/reference/fuzz.md tells what becomes of each", () => {
  const text = readFileSync(page, "utf8");
  const [before = "", rest = ""] = text.split(BEGIN);
  const after = rest.slice(rest.indexOf(END));
  const rows = published.map((input) => {
    const where = input.at === "path" ? "a path" : `\`${input.at}\``;
    return `| ${input.cve} | ${where} | ${input.tried} | ${becomes(input)} |`;
  });
  const table = [
    "| published as | where | what it tries | what becomes of it |",
    "|---|---|---|---|",
    ...rows,
  ];
  const made = `${before}${BEGIN}\n${table.join("\n")}\n\n${after}`;
  if (process.env["UPDATE_DOCS"] === "1") writeFileSync(page, made);
  assert.equal(readFileSync(page, "utf8"), made);
});
