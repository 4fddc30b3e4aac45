import type Type from "typebox";
import { RolloutRow } from "./fleet/rollout.ts";
import { RouteRow } from "./fleet/route.ts";
import { FleetCluster, PeersRow, ProfileRow, UpstreamRow } from "./fleet/rows.ts";
import { SecretRow } from "./fleet/secret.ts";
import { SettingsRow } from "./fleet/settings.ts";
import { fleetKeys, type KeySpace, plainKeys, sliceKeys, topologyKeys } from "./keys.ts";
import * as records from "./records.ts";

/** A NATS KV bucket: the newest value of each key. */
export interface TableSpec<T = unknown> {
  /** Name in DESIGN and documents; the bucket is `sluice_<name>`. */
  readonly name: string;
  /** Memory: lost with the servers, on purpose. */
  readonly storage: "file" | "memory";
  /** Seconds until a value that nobody renews disappears; absent: never. */
  readonly ttlSeconds?: number;
  /** Schema of `data` at a key; null: the key is not ours. */
  schemaOf(key: string): Type.TSchema | null;
  /** Where a value has to lie: one that lies elsewhere speaks of something that its writer may not speak of. */
  keyOf?(value: T): string;
  /** Present on tables whose writers hold claims. */
  readonly keys?: KeySpace;
  /** Filters over keys whose every record goes into the log; absent: none. */
  readonly logged?: readonly string[];
  /** Type of the values; never set. */
  readonly _type?: T;
}

/** A table that is written under claims. */
export interface FencedTableSpec<T = unknown> extends TableSpec<T> {
  readonly keys: KeySpace;
}

export type SliceValue = records.SliceRecord | records.ExportRecord;
export const slicesTable: FencedTableSpec<SliceValue> = {
  name: "slices",
  storage: "file",
  logged: [">"],
  keys: sliceKeys,
  schemaOf: (key) => (key.endsWith("._export") ? records.ExportRecord : records.SliceRecord),
};

export type TopologyValue = records.TopologyService | records.TopologyPeers;
export const topologyTable: FencedTableSpec<TopologyValue> = {
  name: "topology",
  storage: "file",
  logged: [">"],
  keys: topologyKeys,
  schemaOf: (key) => (key.endsWith("._service") ? records.TopologyService : records.TopologyPeers),
};

export type FleetValue =
  | ProfileRow
  | RouteRow
  | UpstreamRow
  | PeersRow
  | FleetCluster
  | SecretRow
  | SettingsRow
  | RolloutRow;
const fleetSchemas: Readonly<Record<string, Type.TSchema>> = {
  profiles: ProfileRow,
  rollout: RolloutRow,
  settings: SettingsRow,
  routes: RouteRow,
  upstreams: UpstreamRow,
  peers: PeersRow,
  clusters: FleetCluster,
  secrets: SecretRow,
};
export const fleetTable: FencedTableSpec<FleetValue> = {
  name: "fleet",
  storage: "file",
  // Not secrets: keys that were replaced must not be kept. Nor peers: they follow from `topology`, and would be most of the log.
  logged: ["*.profiles.*", "*.routes.*", "*.upstreams.*", "*.clusters.*", "*._meta.>"],
  keys: fleetKeys,
  schemaOf: (key) => fleetSchemas[key.split(".")[1] ?? ""] ?? null,
};

export const clustersTable: TableSpec<records.ClusterRecord> = {
  name: "clusters",
  storage: "file",
  logged: [">"],
  schemaOf: () => records.ClusterRecord,
  keyOf: ({ cluster }) => plainKeys.cluster(cluster),
};
export const verdictsTable: TableSpec<records.VerdictRecord> = {
  name: "verdicts",
  storage: "file",
  schemaOf: () => records.VerdictRecord,
  keyOf: ({ cluster, namespace, service }) => plainKeys.verdict(cluster, namespace, service),
};
export const intentsTable: TableSpec<records.IntentRecord> = {
  name: "intents",
  storage: "file",
  logged: [">"],
  schemaOf: () => records.IntentRecord,
  keyOf: ({ verb, cluster }) => plainKeys.intent(verb, cluster),
};
export const proxiesTable: TableSpec<records.ProxyRecord> = {
  name: "proxies",
  storage: "file",
  schemaOf: () => records.ProxyRecord,
  keyOf: ({ fleet, proxy }) => plainKeys.proxy(fleet, proxy),
};
export const membersTable: TableSpec<records.MemberRecord> = {
  name: "members",
  storage: "memory",
  ttlSeconds: 3,
  schemaOf: () => records.MemberRecord,
  keyOf: ({ role, process }) => plainKeys.member(role, process),
};
export const bootTable: TableSpec<records.Boot> = {
  name: "boot",
  storage: "memory",
  // What was believed at a past time depends on the life of the servers then.
  logged: [">"],
  schemaOf: () => records.Boot,
};

/** Every table that this version of Sluice keeps on the bus. */
export const allTables: readonly TableSpec[] = [
  slicesTable,
  clustersTable,
  verdictsTable,
  topologyTable,
  fleetTable,
  intentsTable,
  proxiesTable,
  membersTable,
  bootTable,
];

/** Tables of which the log holds records. */
export const loggedTables: readonly TableSpec[] = allTables.filter(({ logged }) => logged !== undefined);
