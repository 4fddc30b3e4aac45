import { ConfigError, type Finding, type StatusProxy, type StatusRollout } from "@sluice/contracts";
import { ago, type Getting, type Got } from "./get-command.ts";
import { holdWords } from "./hold-words.ts";
import { settingsWords } from "./policy-words.ts";
import { fetchStatus } from "./status-command.ts";

/** Of a reason so much is in every finding that tells it. */
const SHOWN = 60;

/** Proxies with what they run, why they reloaded, and what their fleets roll out. @param name a proxy */
export async function getProxies({ gateway, name }: Getting): Promise<Got> {
  const status = await fetchStatus(gateway);
  const proxies = status.proxies.filter(({ proxy }) => name === undefined || proxy === name);
  if (name !== undefined && proxies.length === 0) {
    const known = status.proxies.map(({ proxy }) => proxy).join(", ");
    throw new ConfigError(`no proxy ${name} has been heard of; known: ${known || "none"}`);
  }
  const fleets = new Set(proxies.map(({ fleet }) => fleet));
  const rollouts = status.rollouts.filter(({ fleet }) => name === undefined || fleets.has(fleet));
  const tables = [
    { rows: proxyCells(proxies) },
    { title: "Reloads of nginx, the newest first", rows: reloadCells(proxies) },
    { title: "Rollouts", rows: rolloutCells(rollouts) },
    { title: "Refused: served without, or not at all", rows: refusedCells(rollouts, status.findings) },
    { title: "Rows that nginx has not taken", rows: problemCells(proxies) },
    { title: "Peers on hold", rows: holdCells(proxies, status.at) },
  ];
  return { told: { at: status.at }, gaps: [], answer: { proxies, rollouts }, tables };
}

function proxyCells(proxies: readonly StatusProxy[]): string[][] {
  return [
    ["FLEET", "NAME", "STATE", "HEARD", "APPLIED", "NGINX", "RELOADS", "ON HOLD", "ADDRESS", "NOTE"],
    ...proxies.map((p) => [
      p.fleet,
      p.proxy,
      p.state,
      ago(p.heardMsAgo),
      `${p.revision} of ${p.fleetRevision}${p.source === "bus" ? "" : ` (${p.source})`}`,
      p.nginxVersion ?? "",
      `${p.reloads}${(p.takenBack ?? 0) === 0 ? "" : `, ${p.takenBack} taken back`}`,
      String(p.ejected.length),
      [p.httpAddress, p.httpsAddress && `${p.httpsAddress} (TLS)`]
        .filter((text) => text !== undefined)
        .join(" "),
      [p.error, p.failed && `would not run: ${p.failed}`].filter((text) => text !== undefined).join("; "),
    ]),
  ];
}

function reloadCells(proxies: readonly StatusProxy[]): string[][] {
  const rows = proxies.flatMap(({ fleet, proxy, recentReloads, lastReload }) =>
    (recentReloads ?? (lastReload === undefined ? [] : [lastReload])).map(({ msAgo, ok, why }) => [
      fleet,
      proxy,
      ago(msAgo),
      ok ? "ok" : "taken back",
      why,
    ]),
  );
  return [["FLEET", "PROXY", "WHEN", "RESULT", "WHY"], ...rows];
}

function rolloutCells(rollouts: readonly StatusRollout[]): string[][] {
  return [
    ["FLEET", "STATE", "PROFILES", "BEING TRIED", "LET", "RUNNING"],
    ...rollouts.map(({ fleet, state, profiles, fresh, admitted, running }) => [
      fleet,
      state,
      String(profiles),
      state === "settled" ? "" : `${fresh} new`,
      admitted.join(" "),
      running.join(" "),
    ]),
  ];
}

function refusedCells(rollouts: readonly StatusRollout[], findings: readonly Finding[]): string[][] {
  // The renderer tells each object with the proxy's own words.
  const objects = (reason: RegExp, why: string) =>
    findings
      .filter(({ message }) => reason.test(message) && message.includes(why.slice(0, SHOWN)))
      .map(({ about }) => about)
      .join(", ");
  const rows = rollouts.flatMap(({ fleet, refused, refusedSettings }) => [
    ...refused.map(({ profile, settings, proxy, why }) => {
      const said = settingsWords(settings) || profile;
      return [fleet, proxy, said, objects(/^ProfileRefused: /, why), why];
    }),
    ...refusedSettings.map(({ setting, value, proxy, why }) => {
      const said = `${setting}: ${value === undefined ? "not said" : value}`;
      return [fleet, proxy, said, objects(/^ConfigMap/, why), why];
    }),
  ]);
  return [["FLEET", "PROXY", "SETTINGS", "ASKED FOR BY", "WHY"], ...rows];
}

function problemCells(proxies: readonly StatusProxy[]): string[][] {
  const rows = proxies.flatMap(({ proxy, problems }) =>
    problems.map(({ key, problem }) => [proxy, key, problem]),
  );
  return [["PROXY", "ROW", "PROBLEM"], ...rows];
}

function holdCells(proxies: readonly StatusProxy[], now: number): string[][] {
  const rows = proxies.flatMap(({ proxy, ejected }) =>
    ejected.map(({ upstream, cluster, peer, until, by }) => {
      const hold = holdWords(by, until, now);
      return [
        proxy,
        upstream ?? "",
        cluster,
        peer === "*" ? "(all of them)" : peer,
        hold.because,
        hold.until,
      ];
    }),
  );
  return [["PROXY", "UPSTREAM", "CLUSTER", "PEER", "BECAUSE", "UNTIL"], ...rows];
}
