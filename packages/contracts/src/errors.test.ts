import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { test } from "node:test";
import * as errors from "./errors.ts";
import { errorKinds, SluiceError } from "./sluice-error.ts";

const page = new URL("../../../docs/reference/errors.md", import.meta.url);

function render(): string {
  const rows = errorKinds.map((k) => `| \`${k.code}\` | ${k.exit} | ${k.when} | ${k.solve} |`);
  return [
    "# Errors",
    "",
    "Every failure that Sluice answers with a code. Match on the code: texts may change.",
    "",
    "| code | exit | when | how to solve |",
    "|---|---|---|---|",
    ...rows,
    "",
  ].join("\n");
}

test("docs/reference/errors.md lists every code and no other", () => {
  if (process.env["UPDATE_DOCS"] === "1") writeFileSync(page, render());
  assert.equal(readFileSync(page, "utf8"), render());
});

test("every error class has one code of its own and passes its cause on", () => {
  const cause = new Error("below");
  const codes = Object.values(errors).map((Class) => {
    const error = new Class("what happened", { cause });
    assert.ok(error instanceof SluiceError);
    assert.equal(error.cause, cause);
    return error.code;
  });
  assert.deepEqual(codes.toSorted(), errorKinds.map((k) => k.code).toSorted());
  assert.equal(new Set(codes).size, codes.length);
});
