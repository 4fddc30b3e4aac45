import { type Finding, type MemberRecord, saidBy } from "@sluice/contracts";
import type { GatewayState, Heard } from "./gateway-state.ts";
import { isClockWrong, wrongClockInWords } from "./wrong-clocks.ts";

/** A process renews its record each second and loses it after three; two more for a slow bus. */
export const MEMBER_LIVE_MS = 5000;
/** Subjects of records left out that a status names. */
const MAX_SUBJECTS = 20;

/** What live processes say of the bus, and what their heartbeats show of their clocks. */
export function memberFindings(state: GatewayState, now: number): Finding[] {
  const live = [...state.members].filter(([, { heardAt }]) => now - heardAt <= MEMBER_LIVE_MS);
  return [
    ...silenceFindings(state, live, now),
    ...clockFindings(live),
    ...recordFindings(live),
    ...objectFindings(live),
  ];
}

/** This process has one, too: where none is heard the bus takes none, e.g. because that table has no leader. */
function silenceFindings(state: GatewayState, live: Live, now: number): Finding[] {
  if (!state.connected || live.length > 0 || state.members.size === 0) return [];
  const newest = Math.max(...[...state.members.values()].map(({ heardAt }) => heardAt));
  const seconds = Math.round((now - newest) / 1000);
  const message =
    `no heartbeat has come through for ${seconds} s, so nobody writes; proxies serve what they have. ` +
    "Are all servers of the bus up? Does the stream of table members have a leader?";
  return [{ severity: "error", about: "bus", message }];
}

type Live = readonly (readonly [string, Heard<MemberRecord>])[];

function clockFindings(live: Live): Finding[] {
  return live
    .filter(([, { aheadMs = 0 }]) => isClockWrong(aheadMs))
    .map(([key, { aheadMs = 0 }]) => ({
      severity: "warning",
      about: `process ${key}`,
      message: `its clock is ${wrongClockInWords(aheadMs)}`,
    }));
}

function recordFindings(live: Live): Finding[] {
  const found = new Map<string, { reason: string; roles: Set<string>; count: number }>();
  for (const [, { record }] of live) {
    for (const { subject, reason, count } of record.problems ?? []) {
      const known = found.get(subject) ?? { reason, roles: new Set(), count: 0 };
      known.roles.add(record.role);
      known.count = Math.max(known.count, count);
      found.set(subject, known);
    }
  }
  const listed = [...found].sort(([a], [b]) => (a < b ? -1 : 1));
  const findings = listed.slice(0, MAX_SUBJECTS).map(([subject, { reason, roles, count }]): Finding => {
    const times = count > 1 ? `, ${count} times` : "";
    return {
      severity: "warning",
      about: `record ${subject}`,
      message: `left out by ${[...roles].sort().join(", ")}${times}: ${reason}`,
    };
  });
  if (listed.length > MAX_SUBJECTS) {
    const more = listed.length - MAX_SUBJECTS;
    findings.push({ severity: "warning", about: "records", message: `${more} more subjects are left out` });
  }
  return findings;
}

/** What is wrong with people's objects, by the word of the processes that read them. */
function objectFindings(live: Live): Finding[] {
  const found: Finding[] = [];
  for (const [key, { record }] of live) {
    if (record.objects === undefined) continue;
    for (const { object, reason, message } of record.objects.findings)
      found.push({ severity: "warning", about: object, message: `${reason}: ${message}` });
    const { more } = record.objects;
    if (more > 0) {
      const message = `${more} more things are wrong with objects, by ${key}; each is an Event on its object`;
      found.push({ severity: "warning", about: "objects", message });
    }
  }
  return found;
}

/** Orders that somebody works against, or that nobody has carried out yet. */
export function orderFindings(state: GatewayState, now: number): Finding[] {
  const findings: Finding[] = [];
  for (const intent of state.intents.values()) {
    if (intent.verb !== "unjoin") continue;
    const { cluster } = intent;
    const warn = (message: string) =>
      findings.push({ severity: "warning", about: `cluster ${cluster}`, message });
    if (state.clusters.has(cluster)) {
      warn(`unjoined ${saidBy(intent)}, and its records are still there: is there an aggregator?`);
    }
    for (const [key, { record, heardAt }] of state.members) {
      if (record.role !== "member-watcher" || now - heardAt > MEMBER_LIVE_MS) continue;
      const part = `slices/${cluster}/`;
      const watches =
        record.serves?.includes(cluster) === true || record.parts?.some((p) => p.part.startsWith(part));
      if (!watches) continue;
      warn(
        `unjoined ${saidBy(intent)}; ${key} could watch it and publishes nothing until sluice join ${cluster}`,
      );
    }
  }
  return findings;
}
