import Type from "typebox";
import { LogGap, LogPlace, LogReach } from "./log.ts";
import { HistoryEntry, ServiceChange } from "./service-events.ts";

// What the gateway answers about the past. Long answers are lines of JSON, each an object with one of the fields below.

/** `GET /api/v1/history`: first `start`, then entries and gaps in order, at last `end` or `error`. */
export const HistoryLine = Type.Object({
  start: Type.Optional(Type.Object({ place: LogPlace, reach: LogReach })),
  entry: Type.Optional(HistoryEntry),
  gap: Type.Optional(LogGap),
  end: Type.Optional(LogPlace),
  /** What broke it off after it had begun. */
  error: Type.Optional(Type.Object({ code: Type.Optional(Type.String()), message: Type.String() })),
});
export type HistoryLine = Type.Static<typeof HistoryLine>;

const RawRecord = Type.Object({
  table: Type.String(),
  key: Type.String(),
  revision: Type.Integer({ minimum: 0 }),
  /** The record byte for byte, as text. */
  value: Type.String(),
});

/** `GET /api/v1/log?from&to`: the tables as they lay at `from`, then each entry up to `to`. */
export const LogLine = Type.Object({
  start: Type.Optional(Type.Object({ place: LogPlace, reach: LogReach, boot: Type.String() })),
  /** From here on the servers lived another life. */
  boot: Type.Optional(Type.String()),
  state: Type.Optional(RawRecord),
  entry: Type.Optional(
    Type.Intersect([RawRecord, Type.Object({ seq: Type.Integer(), at: Type.Number({ minimum: 0 }) })]),
  ),
  gap: Type.Optional(LogGap),
  end: Type.Optional(LogPlace),
  error: Type.Optional(Type.Object({ code: Type.Optional(Type.String()), message: Type.String() })),
});
export type LogLine = Type.Static<typeof LogLine>;

/** `GET /api/v1/diff?from&to`: what is different between two moments, whatever happened between them. */
export const DiffAnswer = Type.Object({
  from: LogPlace,
  to: LogPlace,
  gaps: Type.Array(LogGap),
  changes: Type.Array(ServiceChange),
});
export type DiffAnswer = Type.Static<typeof DiffAnswer>;

const PastRow = Type.Object({ key: Type.String(), value: Type.Unknown() });

/** `GET /api/v1/topology?at=` and, per fleet, `GET /api/v1/fleet?at=`. */
export const PastTopology = Type.Object({
  place: LogPlace,
  gaps: Type.Array(LogGap),
  rows: Type.Array(PastRow),
});
export type PastTopology = Type.Static<typeof PastTopology>;

export const PastFleet = Type.Object({
  place: LogPlace,
  gaps: Type.Array(LogGap),
  /** Without peers: those follow from `topology`, and are not logged twice. */
  fleets: Type.Array(Type.Object({ fleet: Type.String(), rows: Type.Array(PastRow) })),
});
export type PastFleet = Type.Static<typeof PastFleet>;
