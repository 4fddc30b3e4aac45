import type { AuditLine } from "./sim-cluster.ts";

/** Field managers of Sluice's services. */
const OURS = /^sluice-(member-watcher|aggregator|config-renderer)$/;

/**
 * What is wrong with a write into an API, in words; null: nothing. Sluice applies fields under its own field manager, and
 * on objects that it did not make their status alone. Events are made, counted up and never taken back.
 */
export function foreignWrite(line: AuditLine): string | null {
  const { cluster, verb, plural, key, manager, subresource, maker } = line;
  if (plural === "events" && (verb === "create" || verb === "patch")) return null;
  const where = `${cluster}: ${verb} of ${plural} ${key}`;
  if (verb === "delete") return OURS.test(maker) ? null : `${where}, which ${maker} has made`;
  if (verb !== "apply") return `${where}: only server-side apply is allowed`;
  if (!OURS.test(manager)) return `${where} under the field manager ${manager}`;
  const ours = maker === "" || OURS.test(maker);
  return ours || subresource === "status" ? null : `${where}, which ${maker} has made, beyond its status`;
}
