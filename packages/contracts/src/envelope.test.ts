import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import Type from "typebox";
import { decodeEnvelope, encodeEnvelope, parseJson } from "./envelope.ts";
import { BadRecordError } from "./errors.ts";

const Row = Type.Object({ name: Type.String(), port: Type.Integer({ minimum: 1 }) });
const bytes = (value: unknown) => Buffer.from(JSON.stringify(value));
const read = (value: unknown) => decodeEnvelope(Row, bytes(value), "sluice_rows shop.web");

test("what is written is read, whatever the data", () => {
  const rows = fc.record(
    { name: fc.string({ unit: "grapheme" }), port: fc.integer({ min: 1 }) },
    { noNullPrototype: true },
  );
  fc.assert(
    fc.property(rows, fc.integer({ min: 1 }), (data, n) => {
      const envelope = { v: 1 as const, epoch: { n, id: "e" }, data };
      assert.deepEqual(decodeEnvelope(Row, encodeEnvelope(envelope), "k"), envelope);
    }),
  );
});

test("a tombstone needs no data, and its data is not looked at", () => {
  assert.equal(read({ v: 1, epoch: { n: 1, id: "e" }, deleted: true }).deleted, true);
  assert.equal(read({ v: 1, deleted: true, data: "whatever" }).deleted, true);
});

const refused: Readonly<Record<string, readonly [unknown, RegExp]>> = {
  "another version": [{ v: 2, data: { name: "a", port: 1 } }, /field \/v/],
  "no version": [{ data: { name: "a", port: 1 } }, /\bv\b/],
  "a claim number of 0": [
    { v: 1, epoch: { n: 0, id: "e" }, data: { name: "a", port: 1 } },
    /field \/epoch\/n/,
  ],
  "an epoch without an id": [{ v: 1, epoch: { n: 1 }, data: { name: "a", port: 1 } }, /\/epoch.*id/],
  "a trace id that is none": [
    { v: 1, trace: { id: "XYZ", at: {} }, data: { name: "a", port: 1 } },
    /\/trace\/id/,
  ],
  "deleted: false": [{ v: 1, deleted: false, data: { name: "a", port: 1 } }, /field \/deleted/],
  "no data": [{ v: 1 }, /sluice_rows shop\.web: field \//],
  "data that does not fit": [{ v: 1, data: { name: "a", port: 0 } }, /field \/port/],
  "a list": [[], /field \//],
  null: [null, /field \//],
};
for (const [what, [value, says]] of Object.entries(refused)) {
  test(`${what} is refused, and the message names record and field`, () => {
    assert.throws(() => read(value), { name: "BadRecordError", message: says });
    assert.throws(() => read(value), /^BadRecordError: sluice_rows shop\.web: /);
  });
}

test("any bytes at all are a record or a BadRecordError", () => {
  fc.assert(
    fc.property(
      fc.oneof(
        fc.uint8Array(),
        fc.json().map((text) => Buffer.from(text)),
      ),
      (raw) => {
        try {
          decodeEnvelope(Row, raw, "k");
        } catch (error) {
          assert.ok(error instanceof BadRecordError);
        }
      },
    ),
  );
});

test("what is not JSON keeps the parser's error as its cause", () => {
  assert.throws(
    () => parseJson(Buffer.from("{"), "k"),
    (error) => error instanceof BadRecordError && error.cause instanceof SyntaxError,
  );
});

test("a view into a larger buffer is read within its own bounds", () => {
  const whole = Buffer.from(`xx${JSON.stringify({ a: 1 })}yy`);
  assert.deepEqual(parseJson(new Uint8Array(whole.buffer, whole.byteOffset + 2, whole.length - 4), "k"), {
    a: 1,
  });
});
