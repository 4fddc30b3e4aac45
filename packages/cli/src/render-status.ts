import { styleText } from "node:util";
import type { Status, StatusProxy } from "@sluice/contracts";
import { columns } from "./columns.ts";

type Style = "red" | "yellow" | "green" | "dim" | "bold";
type Paint = (style: Style, text: string) => string;

function ago(ms: number): string {
  return ms < 1000 ? "now" : `${Math.round(ms / 1000)} s ago`;
}

/** e.g. `slices/member1/0` as it is, or `topology ×16`: many parts of one table are a number. */
function shorten(parts: readonly string[]): string {
  if (parts.length <= 2) return parts.map((part) => part.replace("//", "/")).join(" ");
  const counts = new Map<string, number>();
  for (const part of parts) {
    const table = part.slice(0, part.indexOf("/"));
    counts.set(table, (counts.get(table) ?? 0) + 1);
  }
  return [...counts].map(([table, count]) => `${table} ×${count}`).join(" ");
}

const paintState = (paint: Paint, state: string) =>
  paint(
    state === "ok"
      ? "green"
      : state === "behind" || state === "stale" || state === "unknown" || state === "drained"
        ? "yellow"
        : "red",
    state,
  );

/** What `sluice status` prints: findings first, then clusters, services, proxies, as the gateway orders them. */
export function renderStatus(status: Status, options: { readonly color: boolean }): string {
  const paint: Paint = (style, text) =>
    options.color ? styleText(style, text, { validateStream: false }) : text;
  const lines: string[] = [];
  const section = (title: string, rows: readonly (readonly string[])[], empty: string) => {
    lines.push(paint("bold", title));
    if (rows.length <= 1) lines.push(`  ${empty}`);
    else lines.push(...columns(rows).map((row, i) => `  ${i === 0 ? paint("dim", row) : row}`));
    lines.push("");
  };
  if (status.findings.length === 0) lines.push(paint("green", "All is well."), "");
  else {
    lines.push(paint("bold", `${status.findings.length} to look at`));
    for (const { severity, about, message } of status.findings) {
      lines.push(
        `  ${paint(severity === "error" ? "red" : "yellow", severity.padEnd(7))}  ${about}: ${message}`,
      );
    }
    lines.push("");
  }
  // With one process of each role there is nothing to share.
  if (new Set(status.work.map(({ role }) => role)).size < status.work.length) {
    section(
      "Work",
      [
        ["ROLE", "PROCESS", "PID", "STATE", "HOLDS", "STANDS BY", "NOTE"],
        ...status.work.map((w) => [
          w.role,
          w.process,
          String(w.pid),
          paint(w.state === "ok" ? "green" : "yellow", w.state),
          shorten(w.holds),
          shorten(w.standsBy),
          w.resigned.length > 0 ? `left to others: ${shorten(w.resigned)}` : "",
        ]),
      ],
      "nobody holds anything",
    );
  }
  section(
    "Clusters",
    [
      ["NAME", "STATE", "HEARD", "VERSION", "EXPORTS", "PEERS", "NOTE"],
      ...status.clusters.map((c) => [
        c.cluster,
        paintState(paint, c.state),
        ago(c.heardMsAgo),
        c.kubernetesVersion ?? "",
        String(c.exports),
        String(c.peers),
        [c.reason, c.held && `list held: ${c.held.peers} of ${c.held.of} peers`, ...c.waiting]
          .filter((text) => text !== undefined)
          .join("; "),
      ]),
    ],
    "no member has been heard of",
  );
  if (status.orders.length > 0) {
    section(
      "Orders",
      [
        ["VERB", "CLUSTER", "BY", "SINCE", "REASON"],
        ...status.orders.map((o) => [
          o.force === true ? `${o.verb} --force` : o.verb,
          o.cluster,
          o.by,
          new Date(o.at).toISOString(),
          o.reason ?? "",
        ]),
      ],
      "none stands",
    );
  }
  section(
    "Services",
    [
      ["NAMESPACE", "NAME", "DERIVED", "PEERS", "BY CLUSTER", "ROUTES"],
      ...status.services.map((s) => [
        s.namespace,
        s.service,
        s.derived,
        s.peers === 0 ? paint("red", "0") : String(s.peers),
        s.clusters
          .map((c) => `${c.cluster}:${c.peers}${c.draining > 0 ? ` (${c.draining} draining)` : ""}`)
          .join(" "),
        s.routes.join(" "),
      ]),
    ],
    "no service is exported",
  );
  section(
    "Proxies",
    [
      ["FLEET", "NAME", "STATE", "HEARD", "APPLIED", "RELOADS", "ADDRESS", "EJECTED"],
      ...status.proxies.map((p) => [
        p.fleet,
        p.proxy,
        paintState(paint, p.state),
        ago(p.heardMsAgo),
        `${p.revision} of ${p.fleetRevision}${p.source === "bus" ? "" : ` (${p.source})`}`,
        reloads(p),
        [p.httpAddress, p.httpsAddress && `${p.httpsAddress} (TLS)`].filter(Boolean).join(" "),
        p.ejected.map((e) => `${e.peer} (${e.cluster})`).join(" "),
      ]),
    ],
    "no proxy has been heard of",
  );
  const { hosts, paths, problems } = status.routes;
  lines.push(
    `${hosts} host${hosts === 1 ? "" : "s"}, ${paths} path${paths === 1 ? "" : "s"}, ${problems.length} with a problem`,
  );
  return `${lines.join("\n")}\n`;
}

/** `3, 1 taken back (20 s ago: profiles: 2 new, 1 gone)` */
function reloads({ reloads: count, takenBack = 0, lastReload: last }: StatusProxy): string {
  const back = takenBack === 0 ? "" : `, ${takenBack} taken back`;
  return `${count}${back}${last === undefined ? "" : ` (${ago(last.msAgo)}: ${last.why})`}`;
}
