import { plainKeys } from "./keys.ts";
import type { IntentRecord } from "./records.ts";

/**
 * An order that the bus has lost is followed on for so long, ms: whoever took it writes it again by then, or it was taken
 * back.
 */
export const FORGET_ORDERS_MS = 10_000;

/** A view of `intents`, or what else finds a record by its key. */
export interface Intents {
  get(key: string): IntentRecord | undefined;
}

/** The order that stands for a cluster. */
export function orderOf(
  intents: Intents,
  verb: IntentRecord["verb"],
  cluster: string,
): IntentRecord | undefined {
  return intents.get(plainKeys.intent(verb, cluster));
}

/** Who ordered it and why, for people. */
export function saidBy({ by, reason }: IntentRecord): string {
  return reason === undefined ? `by ${by}` : `by ${by}: ${reason}`;
}
