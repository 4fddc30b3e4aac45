import {
  decodeToken,
  type FleetValue,
  fleetKeys,
  type ProfileRow,
  type ProxyRecord,
  type RolloutRow,
  type StatusRollout,
} from "@sluice/contracts";
import type { GatewayState } from "./gateway-state.ts";

/** How far each fleet is with what it rolls out, fleets by name. */
export function rolloutsOf({ fleet: rows, proxies }: GatewayState): StatusRollout[] {
  const found: StatusRollout[] = [];
  const records = [...proxies.values()].map(({ record }) => record);
  for (const [key, row] of rows) {
    const [token = "", kind] = key.split(".");
    if (kind !== "rollout") continue;
    const fleet = decodeToken(token) ?? token;
    const own = records.filter((record) => record.fleet === fleet);
    found.push({ fleet, ...rolloutOf(row as RolloutRow, own, settingsIn(rows, fleet)) });
  }
  return found.sort((a, b) => (a.fleet < b.fleet ? -1 : 1));
}

function rolloutOf(
  { target, proven, admitted, refused, refusedSettings = [] }: RolloutRow,
  proxies: readonly ProxyRecord[],
  settingsOf: (profile: string) => ProfileRow["settings"],
): Omit<StatusRollout, "fleet"> {
  const before = new Set(proven?.profiles.map(({ hash }) => hash));
  const runs = new Set(
    proxies.filter(({ rollout }) => rollout?.runs === target?.id).map(({ proxy }) => proxy),
  );
  return {
    state: target === null ? "settled" : "trying",
    profiles: before.size,
    fresh: (target?.profiles ?? []).filter(({ hash }) => !before.has(hash)).length,
    admitted: [...admitted],
    running: target === null ? [] : admitted.filter((name) => runs.has(name)),
    refused: refused.map(({ hash, proxy, why }) => ({
      profile: hash,
      settings: settingsOf(hash),
      proxy,
      why,
    })),
    refusedSettings: [...refusedSettings],
  };
}

function settingsIn(rows: ReadonlyMap<string, FleetValue>, fleet: string) {
  return (profile: string): ProfileRow["settings"] =>
    (rows.get(fleetKeys.profile(fleet, profile)) as ProfileRow | undefined)?.settings ?? {};
}
