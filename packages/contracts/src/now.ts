import Type from "typebox";

// What the topology-gateway answers of the tables as they are, without a moment: rows as they are believed now.

const Row = Type.Object({ key: Type.String(), value: Type.Unknown() });
/** When it was asked, ms since 1970. */
const At = Type.Number({ minimum: 0 });

/** `GET /api/v1/topology` */
export const TopologyNow = Type.Object({ at: At, rows: Type.Array(Row) });
export type TopologyNow = Type.Static<typeof TopologyNow>;

/** `GET /api/v1/fleet`; of secrets without what is sealed. */
export const FleetNow = Type.Object({
  at: At,
  fleets: Type.Array(
    Type.Object({
      fleet: Type.String(),
      /** Highest of its rows. */
      revision: Type.Integer({ minimum: 0 }),
      rows: Type.Array(Row),
    }),
  ),
});
export type FleetNow = Type.Static<typeof FleetNow>;
