import {
  decode,
  type FleetCluster,
  FleetNow,
  type FleetValue,
  fleetTable,
  type LogGap,
  PastFleet,
  PastTopology,
  type PeersRow,
  type ProfileRow,
  type RouteRow,
  type SecretRow,
  TopologyNow,
  type TopologyPeers,
  type TopologyService,
  topologyTable,
  type UpstreamRow,
} from "@sluice/contracts";
import { askGateway } from "./gateway.ts";
import { PAST_ANSWER_MS, serviceQuery } from "./past-options.ts";

/** The moment that an answer tells of, ms since 1970; `seq`: its place in the log, if it was asked for as one of the past. */
export interface Told {
  readonly at: number;
  readonly seq?: number;
}

export interface TopologyRows {
  readonly told: Told;
  readonly gaps: readonly LogGap[];
  readonly services: readonly TopologyService[];
  readonly peers: readonly TopologyPeers[];
}

/** @param at undefined: as the gateway believes it now, whether or not there is a log */
export async function askTopology(
  gateway: string,
  at: string | undefined,
  service?: string,
): Promise<TopologyRows> {
  const asked = {
    path: "/api/v1/topology",
    query: { at, ...serviceQuery(service) },
    answerMs: PAST_ANSWER_MS,
  };
  if (at === undefined) {
    const read = (answer: unknown, subject: string) => decode(TopologyNow, answer, subject);
    const now = await askGateway(gateway, read, asked);
    return { told: { at: now.at }, gaps: [], ...topologyOf(now.rows) };
  }
  const read = (answer: unknown, subject: string) => decode(PastTopology, answer, subject);
  const past = await askGateway(gateway, read, asked);
  return { told: past.place, gaps: past.gaps, ...topologyOf(past.rows) };
}

type Rows = readonly { readonly key: string; readonly value: unknown }[];

function topologyOf(rows: Rows): Pick<TopologyRows, "services" | "peers"> {
  const services: TopologyService[] = [];
  const peers: TopologyPeers[] = [];
  for (const { key, value } of rows) {
    const row = decode(topologyTable.schemaOf(key)!, value, key) as TopologyService | TopologyPeers;
    if ("cluster" in row) peers.push(row);
    else services.push(row);
  }
  return { services, peers };
}

interface RowOfKind {
  readonly routes: RouteRow;
  readonly upstreams: UpstreamRow;
  readonly profiles: ProfileRow;
  readonly secrets: SecretRow;
  readonly peers: PeersRow;
  readonly clusters: FleetCluster;
}
export type FleetKind = keyof RowOfKind;

/** Rows of one fleet. */
export class FleetRows {
  readonly fleet: string;
  readonly #rows = new Map<string, FleetValue[]>();

  /** @throws BadRecordError */
  constructor(fleet: string, rows: Rows) {
    this.fleet = fleet;
    for (const { key, value } of rows) {
      const kind = key.split(".")[1] ?? "";
      const schema = fleetTable.schemaOf(key);
      // Of a newer gateway.
      if (schema === null) continue;
      const of = this.#rows.get(kind) ?? [];
      of.push(decode(schema, value, key) as FleetValue);
      this.#rows.set(kind, of);
    }
  }

  /** In the order of their keys. */
  all<K extends FleetKind>(kind: K): readonly RowOfKind[K][] {
    return (this.#rows.get(kind) ?? []) as unknown as readonly RowOfKind[K][];
  }
}

export interface Fleets {
  readonly told: Told;
  readonly gaps: readonly LogGap[];
  readonly fleets: readonly FleetRows[];
}

/** @param at undefined: as the gateway believes it now. The log holds neither peers nor secrets. */
export async function askFleets(
  gateway: string,
  at: string | undefined,
  kinds: readonly FleetKind[],
): Promise<Fleets> {
  const asked = {
    path: "/api/v1/fleet",
    query: { at, kinds: kinds.join(",") },
    answerMs: PAST_ANSWER_MS,
  };
  if (at === undefined) {
    const read = (answer: unknown, subject: string) => decode(FleetNow, answer, subject);
    const now = await askGateway(gateway, read, asked);
    return { told: { at: now.at }, gaps: [], fleets: fleetsOf(now.fleets) };
  }
  const read = (answer: unknown, subject: string) => decode(PastFleet, answer, subject);
  const past = await askGateway(gateway, read, asked);
  return { told: past.place, gaps: past.gaps, fleets: fleetsOf(past.fleets) };
}

function fleetsOf(fleets: readonly { readonly fleet: string; readonly rows: Rows }[]): FleetRows[] {
  return fleets.map(({ fleet, rows }) => new FleetRows(fleet, rows));
}
