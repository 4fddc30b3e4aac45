import { type Bus, LogFeeder, type PartHolder } from "@sluice/bus";
import { logStream, type TopologyValue, topologyTable } from "@sluice/contracts";
import { type Kit, slept } from "@sluice/service-kit";
import { CheckpointKeeper, type CheckpointOptions } from "./checkpoints.ts";
import { publishEvents } from "./events.ts";

export interface PastOptions extends CheckpointOptions {
  /** How much the log keeps. */
  readonly log: { readonly maxBytes: number; readonly maxAgeSeconds: number };
}

export const defaultPast: PastOptions = {
  log: { maxBytes: logStream.maxBytes, maxAgeSeconds: logStream.maxAgeSeconds },
  everyMs: 600_000,
  everyBytes: 1e9,
  maxBytes: 5 * 2 ** 30,
};

const LOOK_MS = 100;

/** Of several aggregators the one that holds the part `events` writes checkpoints and events. */
export async function keepPast(bus: Bus, options: PastOptions, kit: Kit): Promise<void> {
  const { log } = bus;
  if (log === null) return;
  const part = { scope: "", shard: "events" };
  const holder: PartHolder<TopologyValue> = bus.hold(topologyTable, part, { fresh: async () => {} });
  const feeding = new LogFeeder(log, () => holder.synced, kit).run(kit.signal);
  while (await slept(kit.clock, LOOK_MS, kit.signal)) {
    if (!holder.synced) continue;
    const over = new AbortController();
    const signal = AbortSignal.any([kit.signal, over.signal]);
    const keeper = new CheckpointKeeper(log, options, kit);
    const work = Promise.all([
      keepLimits(signal),
      keeper.run(signal),
      publishEvents(log, { gap: () => keeper.ask() }, kit, signal),
    ]);
    while (holder.synced && (await slept(kit.clock, LOOK_MS, kit.signal)));
    over.abort(new Error("another process keeps the past now"));
    await work;
  }
  await Promise.all([holder.done, feeding]);

  async function keepLimits(signal: AbortSignal): Promise<void> {
    try {
      await log?.keep(options.log, signal);
    } catch (err) {
      if (!signal.aborted) kit.log.warn({ err, ...options.log }, "the log keeps as much as before");
    }
  }
}
