import Type from "typebox";
import { Name } from "../record-parts.ts";
import { ProfileRow } from "./rows.ts";
import { FleetSettings } from "./settings.ts";

/** A set of profiles, and settings of listeners, that proxies run as one; equal ones have one id. */
export const Configuration = Type.Object({
  id: Type.String({ pattern: "^[0-9a-f]{16}$" }),
  /** In the order of their hashes. */
  profiles: Type.Array(ProfileRow, { maxItems: 1000 }),
  /** Absent: nothing is said of them, and each proxy keeps those that it has. */
  settings: Type.Optional(FleetSettings),
});
export type Configuration = Type.Static<typeof Configuration>;

/** A profile that a proxy could not run with. */
export const RefusedProfile = Type.Object({
  hash: Type.String(),
  /** The proxy that tried it first. */
  proxy: Name,
  why: Type.String({ maxLength: 500 }),
});
export type RefusedProfile = Type.Static<typeof RefusedProfile>;

/** A setting of listeners that a proxy could not run with; the one that was proven before goes on. */
export const RefusedSetting = Type.Object({
  setting: Type.String(),
  /** Absent: that it is not said any more would not do. */
  value: Type.Optional(Type.Union([Type.String(), Type.Number(), Type.Boolean()])),
  /** The proxy that tried it first. */
  proxy: Name,
  why: Type.String({ maxLength: 500 }),
});
export type RefusedSetting = Type.Static<typeof RefusedSetting>;

/** `fleet`, key `<fleet>.rollout`: which proxies may run which configuration. */
export const RolloutRow = Type.Object({
  /** Counts the orders of a fleet, so that of two the newer one is known. */
  n: Type.Integer({ minimum: 1 }),
  /** Of this order alone: a proxy says by it which order it has followed. */
  order: Type.String({ minLength: 1, maxLength: 64 }),
  /** What every proxy may run; null: nothing has been tried yet, and each keeps what it has. */
  proven: Type.Union([Configuration, Type.Null()]),
  /** What is being tried; null: nothing is. */
  target: Type.Union([Configuration, Type.Null()]),
  /** Proxies that shall run the target, in the order in which they were let. */
  admitted: Type.Array(Name, { maxItems: 10_000 }),
  refused: Type.Array(RefusedProfile, { maxItems: 1000 }),
  /** Absent: none. */
  refusedSettings: Type.Optional(Type.Array(RefusedSetting, { maxItems: 1000 })),
  /** New profiles and settings that are tried together at most. */
  atOnce: Type.Integer({ minimum: 1 }),
});
export type RolloutRow = Type.Static<typeof RolloutRow>;
