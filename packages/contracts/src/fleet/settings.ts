import Type from "typebox";
import { Name } from "../record-parts.ts";

/**
 * What holds for all listeners of a fleet, by name; packages/ingress says which names there are. What is not in it is as a
 * proxy has it by itself.
 */
export const FleetSettings = Type.Record(
  Type.String(),
  Type.Union([Type.String(), Type.Number(), Type.Boolean()]),
);
export type FleetSettings = Type.Static<typeof FleetSettings>;

/** `fleet`, key `<fleet>.settings`: there only while something is said. */
export const SettingsRow = Type.Object({
  /** The ConfigMap that says so. */
  source: Type.Object({ namespace: Name, name: Name }),
  settings: FleetSettings,
});
export type SettingsRow = Type.Static<typeof SettingsRow>;
