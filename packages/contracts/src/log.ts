import Type from "typebox";

// The log: every accepted change of the logged tables, in order, with a sequence of its own.

/** Everything that was accepted into a logged table, in order. */
export const logStream = {
  name: "sluice_log",
  /** Subject of a record: `sluice.log.<table>.<key>`. */
  prefix: "sluice.log.",
  /** Bytes beyond which the oldest entries go. */
  maxBytes: 10 * 2 ** 30,
  /** Age in seconds beyond which entries go. */
  maxAgeSeconds: 72 * 3600,
} as const;

/** Events for others, derived from `topology` by one aggregator. */
export const eventStream = {
  name: "sluice_events",
  /** Subject of an event: `sluice.events.v1.<type>.<ns>.<svc>`. */
  prefix: "sluice.events.v1.",
  maxBytes: 2 ** 30,
  maxAgeSeconds: 72 * 3600,
} as const;

/** Object store with snapshots of all logged tables, so that a past state is at most one snapshot and some log away. */
export const checkpointBucket = "sluice_checkpoints";

export function logSubject(table: string, key: string): string {
  return `${logStream.prefix}${table}.${key}`;
}

/**
 * Where the server tells everybody who listens what it has just stored in a logged table, with the sequence that it
 * has there (NATS's republish). Not the log itself: a copy carries the writer's expectation of its key's last
 * revision, which is not that of the log, so the log would refuse it.
 */
export function acceptedSubject(table: string, key: string): string {
  return `sluice.accepted.${table}.${key}`;
}

/** Headers of an entry in the log. */
export const logHeaders = {
  /** Sequence in the table's stream. */
  revision: "Sluice-Revision",
  /** Sequence that the key's record before it had there; 0: none. */
  previous: "Sluice-Previous",
  /** When the table's stream was made: its sequences mean nothing in another. */
  life: "Sluice-Life",
  /** It was read from the table afterwards, so that what it replaced may be missing. */
  late: "Sluice-Late",
} as const;

const Sequence = Type.Integer({ minimum: 0 });
const Instant = Type.Number({ minimum: 0 });

/** A place in the log: its sequence and when the server stored it, ms since 1970. */
export const LogPlace = Type.Object({ seq: Sequence, at: Instant });
export type LogPlace = Type.Static<typeof LogPlace>;

/** What `GET /api/v1/log` answers without an interval. */
export const LogReach = Type.Object({
  /** Oldest moment whose state can be told; null: the log is empty. */
  oldest: Type.Union([LogPlace, Type.Null()]),
  newest: Type.Union([LogPlace, Type.Null()]),
  bytes: Type.Integer({ minimum: 0 }),
  maxBytes: Type.Integer(),
  maxAgeSeconds: Type.Number(),
  checkpoints: Type.Integer({ minimum: 0 }),
  /** Of the servers' present life; two buses never share one. */
  boot: Type.String(),
});
export type LogReach = Type.Static<typeof LogReach>;

/** A place at which the log is not whole; what was believed between there and the next checkpoint may be inexact. */
export const LogGap = Type.Object({
  seq: Sequence,
  at: Instant,
  table: Type.String(),
  reason: Type.Union([
    /** Nobody fed the log for a while: what happened meanwhile is one step a key. */
    Type.Literal("missing"),
    /** The bucket was emptied, or an older copy of it was put in its place. */
    Type.Literal("wiped"),
  ]),
});
export type LogGap = Type.Static<typeof LogGap>;

/** What says of a checkpoint that it is whole; kept as metadata of its object. */
export const CheckpointHead = Type.Object({
  v: Type.Literal(1),
  /** Which log it belongs to. */
  log: Type.String(),
  /** Entries behind this sequence may be missing in it, those up to it are not. */
  from: Sequence,
  /** With the log from `from` up to here replayed on it, it is the tables' state at this sequence. */
  seq: Sequence,
  at: Instant,
  bytes: Type.Integer({ minimum: 0 }),
  /** By table: its life in the log, and the newest sequence that its stream had given out before it was read. */
  extents: Type.Record(Type.String(), Type.Object({ life: Type.String(), revision: Sequence })),
  /** By table: the object that holds its records. */
  tables: Type.Record(Type.String(), Type.String()),
});
export type CheckpointHead = Type.Static<typeof CheckpointHead>;

/** A record in a checkpoint: key, revision, when it was stored, its value as text, or as base64 where it is none. */
export const CheckpointLine = Type.Union([
  Type.Tuple([Type.String(), Type.Integer(), Type.Number(), Type.String()]),
  Type.Tuple([Type.String(), Type.Integer(), Type.Number(), Type.Null(), Type.String()]),
]);
export type CheckpointLine = Type.Static<typeof CheckpointLine>;
