import { type Finding, roles, type StatusWork, TOPOLOGY_PARTITIONS } from "@sluice/contracts";
import type { GatewayState } from "./gateway-state.ts";
import { MEMBER_LIVE_MS } from "./state-findings.ts";

/** Who writes what: one line for each live process that holds parts of tables, or stands by for some. */
export function workOf(state: GatewayState, now: number): StatusWork[] {
  const work: StatusWork[] = [];
  for (const { record, heardAt } of state.members.values()) {
    if (now - heardAt > MEMBER_LIVE_MS || record.parts === undefined) continue;
    const of = (wanted: string) =>
      (record.parts ?? []).filter(({ state: now }) => now === wanted).map(({ part }) => part);
    const taking = of("holding");
    work.push({
      role: record.role,
      process: record.process,
      pid: record.pid,
      state: record.leaving === true ? "leaving" : taking.length > 0 ? "taking over" : "ok",
      holds: [...of("synced"), ...taking].sort(),
      taking: taking.sort(),
      standsBy: of("standby").sort(),
      resigned: [...(record.resigned ?? [])].sort(),
    });
  }
  const order = (role: string) => (roles as readonly string[]).indexOf(role);
  return work.sort((a, b) => order(a.role) - order(b.role) || (a.process < b.process ? -1 : 1));
}

/** Parts that somebody should hold and nobody does, and processes that cannot read a source. */
export function workFindings(work: readonly StatusWork[]): Finding[] {
  const held = new Set(work.flatMap(({ holds }) => holds));
  const known = new Set(work.flatMap(({ standsBy, resigned }) => [...standsBy, ...resigned]));
  if (work.some(({ role }) => role === "aggregator")) {
    for (let n = 0; n < TOPOLOGY_PARTITIONS; n++) known.add(`topology//${n}`);
  }
  const free = [...known].filter((part) => !held.has(part)).sort();
  const findings: Finding[] = [];
  if (free.length > 0) {
    const some = free.slice(0, 3).join(", ");
    const more = free.length > 3 ? ` and ${free.length - 3} more` : "";
    findings.push({
      severity: "warning",
      about: "work",
      message: `nobody holds ${some}${more}; changes there wait until somebody has taken over`,
    });
  }
  for (const { role, process, resigned } of work) {
    if (resigned.length === 0) continue;
    const message = `it could not read the source of ${resigned.slice(0, 3).join(", ")} in time, and leaves it to others; see its log`;
    findings.push({ severity: "warning", about: `${role} ${process}`, message });
  }
  return findings;
}
