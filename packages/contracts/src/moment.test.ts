import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { parseMoment } from "./moment.ts";

const now = Date.parse("2026-03-01T12:00:00.000Z");

test("a moment is a time with its offset, how long ago, or a sequence", () => {
  assert.deepEqual(parseMoment("now", now), { at: now });
  assert.deepEqual(parseMoment("2026-03-01T11:00:00Z", now), { at: now - 3_600_000 });
  assert.deepEqual(parseMoment("2026-03-01T13:00:00.250+01:00", now), { at: now + 250 });
  assert.deepEqual(parseMoment("2h", now), { at: now - 7_200_000 });
  assert.deepEqual(parseMoment("-15m", now), { at: now - 900_000 });
  assert.deepEqual(parseMoment("1h30m", now), { at: now - 5_400_000 });
  assert.deepEqual(parseMoment("250ms", now), { at: now - 250 });
  assert.deepEqual(parseMoment("#1234", now), { seq: 1234 });
});

test("what is no moment is refused with what to write, never taken for another one", () => {
  for (const text of [
    "",
    "yesterday",
    "2h5",
    "#",
    "#-1",
    "1234",
    "2026-03-01",
    "2026-03-01T12:00:00",
    "12:00",
  ]) {
    assert.throws(() => parseMoment(text, now), { code: "SLUICE_MOMENT", message: /#1234/ }, text);
  }
});

test("each time that is told can be asked for again", () => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 4e12 }), (at) => {
      assert.deepEqual(parseMoment(new Date(at).toISOString(), now), { at });
    }),
  );
});
