import assert from "node:assert/strict";
import { test } from "node:test";
import { clusterStateChange, orderChange } from "./cluster-events.ts";
import type { FleetCluster } from "./fleet/rows.ts";
import type { IntentRecord } from "./records.ts";

const drain: IntentRecord = {
  verb: "drain",
  cluster: "member1",
  at: 1,
  by: "ada",
  reason: "kernel",
  force: true,
};

test("an order is told with who gave it and why, and one that is taken back by its opposite", () => {
  assert.deepEqual(orderChange(undefined, drain), {
    type: "drain",
    cluster: "member1",
    notes: ["by ada: kernel, forced"],
  });
  assert.deepEqual(orderChange(drain, undefined), {
    type: "undrain",
    cluster: "member1",
    notes: ["takes back drain by ada"],
  });
  assert.deepEqual(orderChange(drain, undefined, { by: "grace", reason: "done" })?.notes, [
    "by grace: done; takes back drain by ada",
  ]);
  const { reason: _reason, force: _force, ...unjoin } = { ...drain, verb: "unjoin" as const };
  assert.deepEqual(orderChange(undefined, unjoin)?.notes, ["by ada"]);
  assert.equal(orderChange(unjoin, undefined)?.type, "join");
});

test("a list that was let pass and is over is nobody's order", () => {
  const accept: IntentRecord = { verb: "accept-list", cluster: "member1", at: 1, by: "ada", held: 1 };
  assert.equal(orderChange(undefined, accept)?.type, "accept-list");
  assert.equal(orderChange(accept, undefined), null);
  assert.equal(orderChange(undefined, undefined), null);
});

test("a cluster's state is told where it is another one, with the reason, and other changes of its row are not", () => {
  const row = (state: FleetCluster["state"], more: Partial<FleetCluster> = {}): FleetCluster => ({
    cluster: "member1",
    state,
    allowed: [],
    ...more,
  });
  const notes = (...rows: [FleetCluster | undefined, FleetCluster | undefined]) =>
    clusterStateChange("default", ...rows)?.notes[0];
  assert.equal(notes(row("ok"), row("down", { reason: "no peer answers" })), "ok → down (no peer answers)");
  assert.equal(notes(undefined, row("ok")), "unknown → ok");
  assert.equal(notes(row("ok"), undefined), "ok → unknown");
  assert.equal(notes(row("drained"), row("drained", { forced: true })), "drained → drained by force");
  assert.equal(notes(row("ok"), row("ok", { allowed: ["10.0.0.0/8"] })), undefined);
});
