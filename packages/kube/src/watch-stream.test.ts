import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { KubeStatusError } from "@sluice/contracts";
import fc from "fast-check";
import { LineSplitter, parseWatchEvent } from "./watch-stream.ts";

describe("a watch's bytes", () => {
  test("become the same lines wherever chunks end, inside a character too", () => {
    const lines = fc.array(fc.string({ unit: "binary", minLength: 1 }).map((text) => JSON.stringify(text)));
    fc.assert(
      fc.property(lines, fc.array(fc.nat(200)), (texts, cuts) => {
        const bytes = Buffer.from(texts.map((text) => `${text}\n`).join(""));
        const splitter = new LineSplitter();
        const seen: string[] = [];
        let from = 0;
        for (const cut of cuts) {
          seen.push(...splitter.push(bytes.subarray(from, from + cut)));
          from += cut;
        }
        seen.push(...splitter.push(bytes.subarray(Math.min(from, bytes.length))));
        assert.deepEqual(seen, texts);
      }),
    );
  });

  test("are refused when a line has no end", () => {
    const splitter = new LineSplitter(10);
    assert.throws(() => splitter.push(Buffer.from("0123456789x")), RangeError);
  });
});

describe("a watch event", () => {
  test("of type ERROR is the API's status as an error", () => {
    const line = JSON.stringify({
      type: "ERROR",
      object: { code: 410, reason: "Expired", message: "too old" },
    });
    assert.throws(
      () => parseWatchEvent(line, "member1"),
      (error) => error instanceof KubeStatusError && error.status === 410 && error.reason === "Expired",
    );
  });

  test("of an unknown type, or about nothing, is refused", () => {
    assert.throws(() => parseWatchEvent('{"type":"MOVED","object":{}}', "member1"), SyntaxError);
    assert.throws(() => parseWatchEvent('{"type":"ADDED"}', "member1"), SyntaxError);
    assert.throws(() => parseWatchEvent('{"type":"ADDED","object":{"metadata":{}}}', "member1"), SyntaxError);
  });
});
