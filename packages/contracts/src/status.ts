import Type from "typebox";
import { decode } from "./envelope.ts";

// What `GET /api/v1/status` answers and `sluice status` shows: the whole of Sluice at one moment, worst first.

const Count = Type.Integer({ minimum: 0 });
/** Milliseconds since something was last heard. */
const Age = Type.Number({ minimum: 0 });

/** Roles of processes, in the order in which a change passes through them. */
export const roles = [
  "propagator",
  "member-watcher",
  "aggregator",
  "config-renderer",
  "proxy-agent",
  "topology-gateway",
] as const;

export const StatusComponent = Type.Object({
  role: Type.String(),
  /** Live processes of that role. */
  live: Count,
  state: Type.Union([Type.Literal("ok"), Type.Literal("missing"), Type.Literal("unknown")]),
});
export type StatusComponent = Type.Static<typeof StatusComponent>;

/** A process that writes parts of tables (`<table>/<scope>/<shard>`), or stands by for some. */
export const StatusWork = Type.Object({
  role: Type.String(),
  process: Type.String(),
  pid: Type.Integer(),
  state: Type.Union([Type.Literal("ok"), Type.Literal("taking over"), Type.Literal("leaving")]),
  holds: Type.Array(Type.String()),
  /** Of those: claimed, but not through with them yet. */
  taking: Type.Array(Type.String()),
  standsBy: Type.Array(Type.String()),
  resigned: Type.Array(Type.String()),
});
export type StatusWork = Type.Static<typeof StatusWork>;

export const StatusCluster = Type.Object({
  cluster: Type.String(),
  /**
   * drained: somebody ordered it out; down: no peer of it answers to the proxies of a fleet; stale: nothing has been heard
   * from its watcher; unreachable: its watcher cannot reach its API. docs/reference/cluster-states.md
   */
  state: Type.Union([
    Type.Literal("ok"),
    Type.Literal("stale"),
    Type.Literal("unreachable"),
    Type.Literal("down"),
    Type.Literal("drained"),
  ]),
  reason: Type.Optional(Type.String()),
  heardMsAgo: Age,
  kubernetesVersion: Type.Optional(Type.String()),
  /** What its watcher waits for, e.g. a CRD. */
  waiting: Type.Array(Type.String()),
  exports: Count,
  /** Addresses over all services, draining ones included. */
  peers: Count,
  /** A list would take away most of its peers: they stay until then, unless somebody lets it pass. */
  held: Type.Optional(Type.Object({ peers: Count, of: Count, until: Type.Number() })),
  /** CIDRs that its peers must be in; null: the fleet has no row of it. */
  allowed: Type.Union([Type.Array(Type.String()), Type.Null()]),
});
export type StatusCluster = Type.Static<typeof StatusCluster>;

/** An order that stands. */
export const StatusOrder = Type.Object({
  verb: Type.Union([Type.Literal("drain"), Type.Literal("unjoin"), Type.Literal("accept-list")]),
  cluster: Type.String(),
  by: Type.String(),
  at: Type.Number({ minimum: 0 }),
  reason: Type.Optional(Type.String()),
  force: Type.Optional(Type.Literal(true)),
});
export type StatusOrder = Type.Static<typeof StatusOrder>;

export const StatusService = Type.Object({
  namespace: Type.String(),
  service: Type.String(),
  /** Name of the Service that stands for it in the hub. */
  derived: Type.String(),
  ports: Type.Array(Type.Object({ name: Type.String(), port: Count, protocol: Type.String() })),
  clusters: Type.Array(Type.Object({ cluster: Type.String(), peers: Count, draining: Count })),
  peers: Count,
  conflicts: Type.Array(
    Type.Object({ cluster: Type.String(), field: Type.String(), message: Type.String() }),
  ),
  /** `host path` of the routes that lead to it; `host path (canary)` where some of their requests do. */
  routes: Type.Array(Type.String()),
});
export type StatusService = Type.Static<typeof StatusService>;

export const StatusRouteProblem = Type.Object({
  fleet: Type.String(),
  host: Type.String(),
  path: Type.String(),
  problem: Type.String(),
  source: Type.Object({ kind: Type.String(), namespace: Type.String(), name: Type.String() }),
});
export type StatusRouteProblem = Type.Static<typeof StatusRouteProblem>;

/** What an nginx was reloaded for; where it was taken back, why. */
const StatusReload = Type.Object({ msAgo: Age, ok: Type.Boolean(), why: Type.String() });

export const StatusProxy = Type.Object({
  fleet: Type.String(),
  proxy: Type.String(),
  /** silent: nothing heard; down: its nginx does not run; behind: it has not applied all rows yet. */
  state: Type.Union([
    Type.Literal("ok"),
    Type.Literal("behind"),
    Type.Literal("down"),
    Type.Literal("silent"),
  ]),
  heardMsAgo: Age,
  source: Type.String(),
  revision: Count,
  /** Highest revision of its fleet's rows. */
  fleetRevision: Count,
  /** Revisions between the two; 0: it has applied everything. */
  lag: Count,
  reloads: Count,
  /** Of these, those that were taken back. */
  takenBack: Type.Optional(Count),
  /** What the last one was for, or why it was taken back. */
  lastReload: Type.Optional(StatusReload),
  /** The last ones, newest first. */
  recentReloads: Type.Optional(Type.Array(StatusReload)),
  nginxVersion: Type.Optional(Type.String()),
  error: Type.Optional(Type.String()),
  httpAddress: Type.Optional(Type.String()),
  httpsAddress: Type.Optional(Type.String()),
  problems: Type.Array(Type.Object({ key: Type.String(), problem: Type.String() })),
  ejected: Type.Array(
    Type.Object({
      cluster: Type.String(),
      /** `*`: all of the cluster's. */
      peer: Type.String(),
      until: Type.Number(),
      /** Id of the upstream in which it is; absent: any. */
      upstream: Type.Optional(Type.String()),
      /** It misses the proxy's checks; absent: requests failed there. */
      by: Type.Optional(Type.Literal("checks")),
    }),
  ),
  /** What it finds of each cluster that it has peers of; absent: it does not say. */
  clusters: Type.Optional(
    Type.Array(
      Type.Object({
        cluster: Type.String(),
        verdict: Type.Union([Type.Literal("alive"), Type.Literal("dead")]),
        sinceMsAgo: Age,
      }),
    ),
  ),
  /** The configuration of its fleet's order that its nginx would not do with. */
  failed: Type.Optional(Type.String()),
});
export type StatusProxy = Type.Static<typeof StatusProxy>;

/** Which proxies of a fleet run which configuration. */
export const StatusRollout = Type.Object({
  fleet: Type.String(),
  /** trying: some proxies may run what the others may not yet. */
  state: Type.Union([Type.Literal("settled"), Type.Literal("trying")]),
  /** Profiles that every proxy may run. */
  profiles: Count,
  /** Of what is being tried: profiles that no proxy had before. */
  fresh: Count,
  /** Proxies that were let try it, in that order, and those of them that run it. */
  admitted: Type.Array(Type.String()),
  running: Type.Array(Type.String()),
  /** What a proxy could not run with; its objects get an Event ProfileRefused. */
  refused: Type.Array(
    Type.Object({
      profile: Type.String(),
      /** What it asks for, where a row of the fleet still says it. */
      settings: Type.Record(Type.String(), Type.Union([Type.String(), Type.Number(), Type.Boolean()])),
      proxy: Type.String(),
      why: Type.String(),
    }),
  ),
  /** Settings of listeners that a proxy could not run with; their ConfigMap gets an Event. */
  refusedSettings: Type.Array(
    Type.Object({
      setting: Type.String(),
      /** Absent: that nothing is said of it. */
      value: Type.Optional(Type.Union([Type.String(), Type.Number(), Type.Boolean()])),
      proxy: Type.String(),
      why: Type.String(),
    }),
  ),
});
export type StatusRollout = Type.Static<typeof StatusRollout>;

export const Finding = Type.Object({
  severity: Type.Union([Type.Literal("error"), Type.Literal("warning")]),
  /** e.g. `cluster member1`, `aggregator`, `route shop.example.test/cart`. */
  about: Type.String(),
  message: Type.String(),
});
export type Finding = Type.Static<typeof Finding>;

export const Status = Type.Object({
  at: Type.Number({ minimum: 0 }),
  /** Everything that a person should look at, worst first; empty: all is well. */
  findings: Type.Array(Finding),
  /** Stages of the way of a change that are not there: roles, and `nats`, `nginx`. */
  missing: Type.Array(Type.String()),
  bus: Type.Object({ connected: Type.Boolean() }),
  components: Type.Array(StatusComponent),
  work: Type.Array(StatusWork),
  clusters: Type.Array(StatusCluster),
  orders: Type.Array(StatusOrder),
  services: Type.Array(StatusService),
  routes: Type.Object({ hosts: Count, paths: Count, problems: Type.Array(StatusRouteProblem) }),
  proxies: Type.Array(StatusProxy),
  rollouts: Type.Array(StatusRollout),
});
export type Status = Type.Static<typeof Status>;

/**
 * What a gateway answered, an older one too: an operator's `sluice` may be newer than what runs. What came to the answer
 * after its first form counts as empty where it is absent; whatever is added to `Status` is optional or stands here.
 * @throws BadRecordError
 */
export function readStatus(answer: unknown, subject: string): Status {
  if (typeof answer !== "object" || answer === null) return decode(Status, answer, subject);
  const { rollouts = [] } = answer as { readonly rollouts?: unknown };
  const whole = Array.isArray(rollouts)
    ? rollouts.map((rollout: unknown) => ({ refusedSettings: [], ...(rollout as object) }))
    : rollouts;
  return decode(Status, { ...answer, rollouts: whole }, subject);
}
