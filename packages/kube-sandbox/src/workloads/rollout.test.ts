import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { rollingStep, rolloutLimits, type SetSize } from "./rollout.ts";

const set = (name: string, wanted: number, available: number): SetSize => ({ name, wanted, available });

describe("a rolling update", () => {
  test("reads percentages as Kubernetes does: surge up, unavailable down, never both none", () => {
    assert.deepEqual(rolloutLimits(3), { desired: 3, maxSurge: 1, maxUnavailable: 0 });
    assert.deepEqual(rolloutLimits(10, "50%", 2), { desired: 10, maxSurge: 5, maxUnavailable: 2 });
    assert.deepEqual(rolloutLimits(3, 0, 0), { desired: 3, maxSurge: 0, maxUnavailable: 1 });
  });

  test("grows the new set by the surge first, and shrinks the old one when the new pod serves", () => {
    const limits = rolloutLimits(3);
    const grown = rollingStep(set("new", 0, 0), [set("old", 3, 3)], limits);
    assert.deepEqual(
      [...grown],
      [
        ["new", 1],
        ["old", 3],
      ],
    );
    const shrunk = rollingStep(set("new", 1, 1), [set("old", 3, 3)], limits);
    assert.deepEqual(
      [...shrunk],
      [
        ["new", 1],
        ["old", 2],
      ],
    );
  });

  test("takes away old pods that do not serve anyway first", () => {
    const sizes = rollingStep(set("new", 1, 0), [set("broken", 1, 0), set("old", 3, 3)], rolloutLimits(3));
    assert.deepEqual(
      [...sizes],
      [
        ["new", 1],
        ["broken", 0],
        ["old", 3],
      ],
    );
  });

  test("ends with the new set alone, never above the surge nor below what must serve", () => {
    const percent = fc.integer({ min: 0, max: 100 }).map((n) => `${n}%`);
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 30 }), percent, percent, (desired, surge, unavailable) => {
        const limits = rolloutLimits(desired, surge, unavailable);
        let current = set("new", 0, 0);
        let old = set("old", desired, desired);
        for (let round = 0; round < 200 && (current.wanted !== desired || old.wanted !== 0); round += 1) {
          const sizes = rollingStep(current, [old], limits);
          const [next = 0, left = 0] = [sizes.get("new"), sizes.get("old")];
          assert.ok(next + left <= Math.max(desired + limits.maxSurge, current.wanted + old.wanted));
          // Pods that are taken away are gone at once, new ones serve a round later.
          const available = Math.min(current.wanted, next) + Math.min(old.available, left);
          assert.ok(available >= desired - limits.maxUnavailable);
          current = set("new", next, Math.min(current.wanted, next));
          old = set("old", left, left);
        }
        assert.deepEqual([current.wanted, old.wanted], [desired, 0]);
      }),
    );
  });
});
