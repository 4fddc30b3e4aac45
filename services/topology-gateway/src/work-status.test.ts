import assert from "node:assert/strict";
import { test } from "node:test";
import { type MemberRecord, TOPOLOGY_PARTITIONS } from "@sluice/contracts";
import type { GatewayState, Heard } from "./gateway-state.ts";
import { workFindings, workOf } from "./work-status.ts";

const now = 1_800_000_000_000;

function member(role: string, process: string, more: Partial<MemberRecord>): [string, Heard<MemberRecord>] {
  const record = { role, process, pid: 1, startedAt: 0, at: now, ...more };
  return [`${role}.${process}`, { record, heardAt: now }];
}

function work(...members: [string, Heard<MemberRecord>][]) {
  return workOf({ members: new Map(members) } as Pick<GatewayState, "members"> as GatewayState, now);
}

const all = Array.from({ length: TOPOLOGY_PARTITIONS }, (_, n) => {
  return { part: `topology//${n}`, state: "synced" as const };
});

test("each process shows what it holds, takes over and stands by for", () => {
  const [first, second] = work(
    member("member-watcher", "b", { parts: [{ part: "slices/member1/0", state: "standby" }] }),
    member("member-watcher", "a", {
      parts: [
        { part: "slices/member1/0", state: "synced" },
        { part: "slices/member2/0", state: "holding" },
      ],
    }),
  );
  assert.equal(first?.process, "a");
  assert.equal(first?.state, "taking over");
  assert.deepEqual(first?.holds, ["slices/member1/0", "slices/member2/0"]);
  assert.deepEqual(second?.standsBy, ["slices/member1/0"]);
});

test("a part that nobody holds is a finding, and none when all are held", () => {
  assert.deepEqual(workFindings(work(member("aggregator", "a", { parts: all }))), []);
  const [finding] = workFindings(work(member("aggregator", "a", { parts: all.slice(1) })));
  assert.match(finding?.message ?? "", /nobody holds topology\/\/0/);
  const [standing] = workFindings(
    work(member("member-watcher", "a", { parts: [{ part: "slices/member1/0", state: "standby" }] })),
  );
  assert.match(standing?.message ?? "", /nobody holds slices\/member1\/0/);
});

test("a process that resigned is named with the part that it left", () => {
  const resigned = member("member-watcher", "a", { parts: [], resigned: ["slices/member1/0"] });
  const findings = workFindings(work(resigned));
  assert.ok(
    findings.some(
      ({ about, message }) => about === "member-watcher a" && message.includes("slices/member1/0"),
    ),
  );
});

test("a process that was not heard for a while is not shown", () => {
  const [key, heard] = member("aggregator", "a", { parts: all });
  assert.deepEqual(work([key, { ...heard, heardAt: now - 10_000 }]), []);
});
