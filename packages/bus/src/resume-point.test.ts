import assert from "node:assert/strict";
import { test } from "node:test";
import { type FoundTable, RESUME_MS, type ResumePoint, resumeFrom } from "./resume-point.ts";

const point: ResumePoint = { boot: "b1", created: "2026-01-01T00:00:00Z", sequence: 41, heardAt: 1000 };
const found: FoundTable = { boot: "b1", created: "2026-01-01T00:00:00Z", lastSequence: 50, now: 2000 };

test("a follower goes on behind what it was told", () => {
  assert.equal(resumeFrom(point, found), 42);
  assert.equal(resumeFrom({ ...point, sequence: 0 }, found), 1);
});

test("a follower that missed nothing waits for the next one", () => {
  assert.equal(resumeFrom(point, { ...found, lastSequence: 41 }), 42);
});

const snapshots: readonly (readonly [string, ResumePoint | null, FoundTable])[] = [
  ["was told nothing yet", null, found],
  ["meets another life of the servers", point, { ...found, boot: "b2" }],
  ["meets a stream that was made anew", point, { ...found, created: "2026-01-02T00:00:00Z" }],
  ["meets a stream that is shorter than it was", point, { ...found, lastSequence: 40 }],
  ["was away for half the age of a tombstone", point, { ...found, now: point.heardAt + RESUME_MS }],
];
for (const [who, before, now] of snapshots) {
  test(`a follower that ${who} takes a snapshot`, () => assert.equal(resumeFrom(before, now), null));
}
