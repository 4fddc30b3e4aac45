import Type from "typebox";
import type { TakenBack } from "./envelope.ts";
import type { FleetCluster } from "./fleet/rows.ts";
import type { IntentRecord } from "./records.ts";

// What happens to clusters as a whole: orders that people give, and what a fleet makes of a cluster.

export const ClusterEventType = Type.Union([
  Type.Literal("drain"),
  Type.Literal("undrain"),
  Type.Literal("unjoin"),
  Type.Literal("join"),
  Type.Literal("accept-list"),
  /** A fleet sends requests to it otherwise than before. */
  Type.Literal("cluster-state"),
]);
export type ClusterEventType = Type.Static<typeof ClusterEventType>;

/** One accepted order about a cluster, or one change of its state in a fleet. */
export const ClusterChange = Type.Object({
  type: ClusterEventType,
  cluster: Type.String(),
  /** Of `cluster-state`: whose view of the cluster it is. */
  fleet: Type.Optional(Type.String()),
  /** Who ordered it and why, or from which state to which, for people. */
  notes: Type.Array(Type.String()),
});
export type ClusterChange = Type.Static<typeof ClusterChange>;

const opposites = { drain: "undrain", unjoin: "join", "accept-list": null } as const;

/** A change of an order; null where nobody ordered anything: a list that was let pass is done by itself. */
export function orderChange(
  before: IntentRecord | undefined,
  after: IntentRecord | undefined,
  takenBack: TakenBack = {},
): ClusterChange | null {
  const whose = (by = "somebody", reason?: string) => `by ${by}${reason === undefined ? "" : `: ${reason}`}`;
  if (after !== undefined) {
    const { verb, cluster, by, reason, force } = after;
    return { type: verb, cluster, notes: [`${whose(by, reason)}${force === true ? ", forced" : ""}`] };
  }
  const type = before === undefined ? null : opposites[before.verb];
  if (before === undefined || type === null) return null;
  const { by, reason } = takenBack;
  const who = by === undefined && reason === undefined ? "" : `${whose(by, reason)}; `;
  return { type, cluster: before.cluster, notes: [`${who}takes back ${before.verb} by ${before.by}`] };
}

/** A change of a cluster's row in a fleet; null where requests go to it as before. */
export function clusterStateChange(
  fleet: string,
  before: FleetCluster | undefined,
  after: FleetCluster | undefined,
): ClusterChange | null {
  const cluster = (after ?? before)?.cluster;
  if (cluster === undefined) return null;
  const [was, is] = [stateOf(before), stateOf(after)];
  if (was === is) return null;
  const why = after?.reason === undefined ? "" : ` (${after.reason})`;
  return { type: "cluster-state", cluster, fleet, notes: [`${was} → ${is}${why}`] };
}

function stateOf(row: FleetCluster | undefined): string {
  if (row === undefined) return "unknown";
  return row.forced === true ? `${row.state} by force` : row.state;
}
