import assert from "node:assert/strict";
import { test } from "node:test";
import { format, inspect } from "node:util";
import { Confidential } from "./confidential.ts";

test("what is confidential is shown to nobody who did not ask for it", () => {
  const hidden = new Confidential("sentinel");
  const shown = [
    String(hidden),
    `${hidden}`,
    JSON.stringify({ hidden }),
    inspect({ deep: { hidden } }, { depth: 9, showHidden: true }),
    format("%o %O %s %j", hidden, hidden, hidden, hidden),
    Object.entries({ ...hidden }).join(),
  ];
  for (const text of shown) assert.doesNotMatch(text, /sentinel/);
  assert.equal(hidden.reveal(), "sentinel");
});
