import Type from "typebox";
import { RolloutReport } from "./fleet/rollout-report.ts";
import { Cidrs, Instant, Name, PortNumber, Protocol } from "./record-parts.ts";

// Everything that crosses a process. A record is the whole state of one small thing, never a delta.

/** Who may write a part since when: the n-th claim, and the uuid that its holder made for it. */
export const Epoch = Type.Object({ n: Type.Integer({ minimum: 1 }), id: Type.String({ minLength: 1 }) });
export type Epoch = Type.Static<typeof Epoch>;

/**
 * The way of one change: a W3C trace id from the watch event on, and when each stage published it (ms since 1970).
 * Stage names: `watch`, `slices`, `topology`, `fleet`, `applied`.
 */
export const Trace = Type.Object({
  id: Type.String({ pattern: "^[0-9a-f]{32}$" }),
  at: Type.Record(Type.String(), Instant),
});
export type Trace = Type.Static<typeof Trace>;

/** `<…>.claim.<part>.<n>`: create-only, never overwritten nor removed. */
export const Claim = Type.Object({
  v: Type.Literal(1),
  id: Type.String({ minLength: 1 }),
  boot: Type.String({ minLength: 1 }),
  /** Number of the layout that its holder read before claiming; 0 when there was none. */
  layout: Type.Integer({ minimum: 0 }),
  /** `<role>.<process>` of the holder, for people. */
  holder: Type.String(),
  at: Instant,
});
export type Claim = Type.Static<typeof Claim>;

/** `<…>.synced.<part>`: from here on, absence means absence under the claim with this id. */
export const Synced = Type.Object({ v: Type.Literal(1), id: Type.String({ minLength: 1 }), at: Instant });
export type Synced = Type.Static<typeof Synced>;

/** `<cluster>._meta.layout.<n>`: into how many shards a cluster is cut. */
export const Layout = Type.Object({
  v: Type.Literal(1),
  shards: Type.Integer({ minimum: 1, maximum: 1024 }),
  at: Instant,
});
export type Layout = Type.Static<typeof Layout>;

export const Boot = Type.Object({ v: Type.Literal(1), id: Type.String({ minLength: 1 }), at: Instant });
export type Boot = Type.Static<typeof Boot>;

/** One live process of a role; renewed each second, gone after its TTL. */
/** What a process finds wrong with objects that people wrote; the same is told on the object, as Events or conditions. */
export const ObjectFindings = Type.Object({
  findings: Type.Array(
    Type.Object({
      /** `<Kind> <namespace>/<name>` */
      object: Type.String(),
      reason: Type.String(),
      message: Type.String(),
    }),
    { maxItems: 20 },
  ),
  /** Findings that are not listed. */
  more: Type.Integer({ minimum: 0 }),
});
export type ObjectFindings = Type.Static<typeof ObjectFindings>;

export const MemberRecord = Type.Object({
  role: Name,
  process: Type.String({ minLength: 1 }),
  pid: Type.Integer(),
  startedAt: Instant,
  at: Instant,
  /** Scopes (clusters, fleets) whose parts it can hold; absent: those of every scope of its role. */
  serves: Type.Optional(Type.Array(Name, { maxItems: 10_000 })),
  /** It is about to end: what it holds goes to others at once. */
  leaving: Type.Optional(Type.Literal(true)),
  /** Parts (`<table>/<scope>/<shard>`) whose source it could not read in time: it ranks last for them. */
  resigned: Type.Optional(Type.Array(Type.String(), { maxItems: 10_000 })),
  /** Parts that it holds, or stands by for. */
  parts: Type.Optional(
    Type.Array(
      Type.Object({
        part: Type.String(),
        state: Type.Union([
          /** It writes, and absence means absence. */
          Type.Literal("synced"),
          /** It has claimed the part and is not through with it yet. */
          Type.Literal("holding"),
          Type.Literal("standby"),
        ]),
      }),
      { maxItems: 20_000 },
    ),
  ),
  /** Records that it left out, or could not write: the newest, each until a good one has come at that subject. */
  problems: Type.Optional(
    Type.Array(
      Type.Object({
        /** `<table>/<key>` */
        subject: Type.String(),
        reason: Type.String(),
        count: Type.Integer({ minimum: 1 }),
      }),
      { maxItems: 20 },
    ),
  ),
  /** Of a process that speaks for its part, e.g. of the renderer that holds its fleet; absent: nothing is wrong. */
  objects: Type.Optional(ObjectFindings),
});
export type MemberRecord = Type.Static<typeof MemberRecord>;

export const SlicePort = Type.Object({
  /** `""` where Kubernetes says nil. */
  name: Type.String(),
  /** null: "all ports" of the EndpointSlice API; such a port has no peers here. */
  port: Type.Union([PortNumber, Type.Null()]),
  protocol: Protocol,
  appProtocol: Type.Optional(Type.String()),
});
export type SlicePort = Type.Static<typeof SlicePort>;

export const SliceEndpoint = Type.Object({
  addresses: Type.Array(Type.String(), { minItems: 1, maxItems: 100 }),
  /** False only when Kubernetes says `ready: false`: nil means ready (EndpointSlice v1). */
  ready: Type.Boolean(),
  serving: Type.Boolean(),
  terminating: Type.Boolean(),
  zone: Type.Optional(Type.String()),
});
export type SliceEndpoint = Type.Static<typeof SliceEndpoint>;

/** `slices`: one EndpointSlice of an exported service. */
export const SliceRecord = Type.Object({
  cluster: Name,
  namespace: Name,
  service: Name,
  slice: Name,
  addressType: Type.Union([Type.Literal("IPv4"), Type.Literal("IPv6"), Type.Literal("FQDN")]),
  ports: Type.Array(SlicePort, { maxItems: 20_000 }),
  endpoints: Type.Array(SliceEndpoint, { maxItems: 1000 }),
});
export type SliceRecord = Type.Static<typeof SliceRecord>;

export const ServicePort = Type.Object({
  name: Type.String(),
  port: PortNumber,
  protocol: Protocol,
  appProtocol: Type.Optional(Type.String()),
});
export type ServicePort = Type.Static<typeof ServicePort>;

/** `slices`, key `…._export`: the export and what its Service says; there while both exist. */
export const ExportRecord = Type.Object({
  cluster: Name,
  namespace: Name,
  service: Name,
  /** creationTimestamp of the ServiceExport, ms: the oldest export wins a conflict (KEP-1645). */
  createdAt: Instant,
  type: Type.Union([Type.Literal("ClusterSetIP"), Type.Literal("Headless")]),
  ipFamilies: Type.Array(Type.String()),
  ports: Type.Array(ServicePort, { maxItems: 1000 }),
});
export type ExportRecord = Type.Static<typeof ExportRecord>;

/** `clusters`: a member as its watcher sees it. */
export const ClusterRecord = Type.Object({
  cluster: Name,
  /** When the watcher last wrote this. */
  heartbeatAt: Instant,
  api: Type.Object({
    reachable: Type.Boolean(),
    /** Since when it is (un)reachable. */
    since: Instant,
    error: Type.Optional(Type.String()),
  }),
  kubernetesVersion: Type.Optional(Type.String()),
  labels: Type.Record(Type.String(), Type.String()),
  /**
   * podCIDRs and addresses of the member's Nodes: what its peers may be, besides `--peers`. Absent: its watcher has not
   * listed them, and nobody has before it; readers keep what they knew.
   */
  nodeCidrs: Type.Optional(Cidrs),
  /** What the watcher waits for, e.g. a CRD that is not served yet. */
  waiting: Type.Array(Type.String()),
  exports: Type.Integer({ minimum: 0 }),
  watcher: Type.String(),
  /** A list would take away more than half of its peers: they stay until then, unless somebody lets it pass. */
  held: Type.Optional(
    Type.Object({ peers: Type.Integer(), of: Type.Integer(), since: Instant, until: Instant }),
  ),
});
export type ClusterRecord = Type.Static<typeof ClusterRecord>;

export const Condition = Type.Object({
  type: Type.String(),
  status: Type.Union([Type.Literal("True"), Type.Literal("False"), Type.Literal("Unknown")]),
  reason: Type.String(),
  message: Type.String(),
});
export type Condition = Type.Static<typeof Condition>;

/** `intents`: what an operator ordered; key `<verb>.<cluster>`. */
export const IntentRecord = Type.Object({
  verb: Type.Union([
    /** No new sessions go to the cluster. */
    Type.Literal("drain"),
    /** The cluster is gone for good: its records are removed. */
    Type.Literal("unjoin"),
    /** A list that takes away most of the cluster's peers is believed. */
    Type.Literal("accept-list"),
  ]),
  cluster: Name,
  at: Instant,
  /** Who, for people; e.g. the user of the command line. */
  by: Type.String({ maxLength: 253 }),
  reason: Type.Optional(Type.String({ maxLength: 1024 })),
  /** Also where it is the last cluster of an import. */
  force: Type.Optional(Type.Literal(true)),
  /** Of accept-list: `held.since` of the list that is let pass; when another is held, or none, it is done. */
  held: Type.Optional(Instant),
});
export type IntentRecord = Type.Static<typeof IntentRecord>;

/** `verdicts`: what the aggregator has to say of one export; the watcher writes it back as conditions. */
export const VerdictRecord = Type.Object({
  cluster: Name,
  namespace: Name,
  service: Name,
  conditions: Type.Array(Condition, { maxItems: 16 }),
});
export type VerdictRecord = Type.Static<typeof VerdictRecord>;

/** `topology`, key `<ns>.<svc>._service`: what all exports of a service agree on. */
export const TopologyService = Type.Object({
  namespace: Name,
  service: Name,
  type: Type.Union([Type.Literal("ClusterSetIP"), Type.Literal("Headless")]),
  ports: Type.Array(ServicePort),
  /** Clusters that export it, in the order in which their exports win a conflict. */
  clusters: Type.Array(Name),
  conflicts: Type.Array(Type.Object({ cluster: Name, field: Type.String(), message: Type.String() })),
});
export type TopologyService = Type.Static<typeof TopologyService>;

export const Peer = Type.Object({
  address: Type.String({ minLength: 2, maxLength: 45 }),
  port: PortNumber,
  /** serving && terminating: open sessions go on, no new ones. */
  draining: Type.Optional(Type.Literal(true)),
});
export type Peer = Type.Static<typeof Peer>;

/** `topology`, key `<ns>.<svc>.<cluster>`: that cluster's peers by port name; sorted by address, then port. */
export const TopologyPeers = Type.Object({
  namespace: Name,
  service: Name,
  cluster: Name,
  ports: Type.Record(Type.String(), Type.Array(Peer)),
});
export type TopologyPeers = Type.Static<typeof TopologyPeers>;

/** What an nginx was reloaded for; where it was taken back, why. */
const Reload = Type.Object({ at: Instant, ok: Type.Boolean(), why: Type.String({ maxLength: 300 }) });

/** `proxies`: what one proxy has applied. */
export const ProxyRecord = Type.Object({
  fleet: Name,
  proxy: Name,
  at: Instant,
  /** Highest revision of `fleet` that nginx has taken; 0 when it runs on its last-good copy. */
  revision: Type.Integer({ minimum: 0 }),
  source: Type.Union([Type.Literal("bus"), Type.Literal("last-good"), Type.Literal("none")]),
  nginx: Type.Object({
    up: Type.Boolean(),
    version: Type.Optional(Type.String()),
    reloads: Type.Integer({ minimum: 0 }),
    /** Of these, those that were taken back. */
    takenBack: Type.Optional(Type.Integer({ minimum: 0 })),
    /** What the last one was for, or why it was taken back. */
    lastReload: Type.Optional(Reload),
    /** The last ones, newest first. */
    recentReloads: Type.Optional(Type.Array(Reload, { maxItems: 10 })),
    error: Type.Optional(Type.String()),
  }),
  rows: Type.Object({
    routes: Type.Integer(),
    upstreams: Type.Integer(),
    peers: Type.Integer(),
    profiles: Type.Integer(),
  }),
  /** Rows that wait for another row, or were refused, with the reason; at most 100. */
  problems: Type.Array(Type.Object({ key: Type.String(), problem: Type.String() }), { maxItems: 100 }),
  /** Peers that this proxy holds ejected now. */
  ejected: Type.Array(
    Type.Object({
      cluster: Type.String(),
      /** `*`: all of the cluster's. */
      peer: Type.String(),
      until: Instant,
      /** Id of the upstream in which it is; absent: of those that say none, any. */
      upstream: Type.Optional(Type.String()),
      /** It misses the proxy's checks, and is out until it passes them. Absent: requests failed there. */
      by: Type.Optional(Type.Literal("checks")),
    }),
  ),
  httpAddress: Type.Optional(Type.String()),
  /** Absent: TLS is not served. */
  httpsAddress: Type.Optional(Type.String()),
  /** Absent: it brings every profile into nginx.conf as it comes. */
  rollout: Type.Optional(RolloutReport),
  /** Its data-path verdict of each cluster that it has peers of: dead once every peer of it is ejected. */
  clusters: Type.Optional(
    Type.Array(
      Type.Object({
        cluster: Name,
        verdict: Type.Union([Type.Literal("alive"), Type.Literal("dead")]),
        since: Instant,
      }),
    ),
  ),
});
export type ProxyRecord = Type.Static<typeof ProxyRecord>;
