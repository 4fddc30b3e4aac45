import type { Bus } from "@sluice/bus";
import type { KubeClient } from "@sluice/kube";
import type { Kit } from "@sluice/service-kit";
import { type AggregateOptions, aggregate } from "./aggregate.ts";
import { writeHub } from "./hub-writer.ts";

export interface AggregatorPorts {
  readonly bus: Bus;
  /** null: nothing is written into a hub. */
  readonly hub: KubeClient | null;
}

/** Resolves when the kit's signal has aborted and nothing runs any more. */
export async function runAggregator(
  { bus, hub }: AggregatorPorts,
  options: AggregateOptions,
  kit: Kit,
): Promise<void> {
  const aggregation = aggregate(bus, options, kit);
  const hubWriter = hub === null ? Promise.resolve() : writeHub(bus, aggregation, hub, kit);
  await Promise.all([bus.join(), aggregation.done, hubWriter]);
}
