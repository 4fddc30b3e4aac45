import type { HistoryEntry, ServiceChange } from "@sluice/contracts";

/** Peers of one sign that are named; the rest is counted. */
const MOST_PEERS = 6;

type Peers = ServiceChange["added"];

/** `+10.1.0.5:8080 −10.1.0.4:8080`, and what else changed. */
export function renderWhat(change: HistoryEntry["change"]): string {
  if (!("service" in change)) {
    const fleet = change.fleet === undefined ? [] : [`fleet ${change.fleet}:`];
    return [...fleet, ...change.notes].join(" ");
  }
  const several =
    new Set([...change.added, ...change.removed, ...change.altered].map((p) => p.portName)).size > 1;
  const parts = [
    ...signed("+", change.added, several),
    ...signed("-", change.removed, several),
    ...signed("~", change.altered, several),
    ...change.notes,
  ];
  return parts.join(" ");
}

function signed(sign: string, peers: Peers, several: boolean): string[] {
  const texts = peers.slice(0, MOST_PEERS).map(({ address, port, draining, portName }) => {
    const host = address.includes(":") ? `[${address}]` : address;
    const named = several ? ` ${portName === "" ? "(unnamed)" : portName}` : "";
    return `${sign}${host}:${port}${named}${draining === true ? " draining" : ""}`;
  });
  if (peers.length > MOST_PEERS) texts.push(`${sign}${peers.length - MOST_PEERS} more`);
  return texts;
}

/** Cells of a change: what, service, cluster, how many afterwards. */
export function changeCells(change: HistoryEntry["change"]): string[] {
  if (!("service" in change)) return [change.type, "", change.cluster, ""];
  const { type, namespace, service, cluster, count } = change;
  return [type, `${namespace}/${service}`, cluster ?? "", cluster === undefined ? "" : String(count)];
}
