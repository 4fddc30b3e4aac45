import type {
  ClusterSeen,
  FleetValue,
  IntentRecord,
  MemberRecord,
  ProxyRecord,
  TopologyPeers,
  TopologyService,
} from "@sluice/contracts";

/** A record and when it was last written, by our own clock, ms since 1970. */
export interface Heard<T> {
  readonly record: T;
  readonly heardAt: number;
  /** By how much the writer's clock was ahead of the bus server's when it was written, ms; it includes the way there. */
  readonly aheadMs?: number;
}

/** Everything on the bus that the gateway answers from, as it is believed now. */
export interface GatewayState {
  readonly connected: boolean;
  /** Since when the bus is away, ms since 1970; null: it is there. Nothing can be heard meanwhile. */
  readonly awaySince: number | null;
  readonly members: ReadonlyMap<string, Heard<MemberRecord>>;
  /** By cluster. */
  readonly clusters: ReadonlyMap<string, ClusterSeen>;
  readonly services: ReadonlyMap<string, TopologyService>;
  readonly peers: ReadonlyMap<string, TopologyPeers>;
  readonly fleet: ReadonlyMap<string, FleetValue>;
  /** Highest revision of each fleet's rows. */
  readonly fleetRevisions: ReadonlyMap<string, number>;
  readonly proxies: ReadonlyMap<string, Heard<ProxyRecord>>;
  /** Orders that stand, by key. */
  readonly intents: ReadonlyMap<string, IntentRecord>;
}
