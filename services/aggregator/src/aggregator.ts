import type { Bus } from "@sluice/bus";
import type { KubeClient } from "@sluice/kube";
import type { Kit } from "@sluice/service-kit";
import { type AggregateOptions, aggregate } from "./aggregate.ts";
import { writeHub } from "./hub-writer.ts";
import { defaultPast, keepPast, type PastOptions } from "./past-keeper.ts";
import { seedFromLog } from "./seed.ts";

export interface AggregatorPorts {
  readonly bus: Bus;
  /** null: nothing is written into a hub. */
  readonly hub: KubeClient | null;
}

/** Resolves when the kit's signal has aborted and nothing runs any more. */
export async function runAggregator(
  { bus, hub }: AggregatorPorts,
  { past, ...options }: Omit<AggregateOptions, "seed"> & { readonly past?: PastOptions },
  kit: Kit,
): Promise<void> {
  const seed = await seedFromLog(bus, kit, kit.signal);
  const aggregation = aggregate(bus, { ...options, seed }, kit);
  // In the same turn as the other holders, so that they share what they follow.
  const keeping = keepPast(bus, past ?? defaultPast, kit);
  const hubWriter = hub === null ? Promise.resolve() : writeHub(bus, aggregation, hub, kit);
  await Promise.all([bus.join(), aggregation.done, keeping, hubWriter]);
}
