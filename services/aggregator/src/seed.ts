import { type Bus, type BusLog, pastAt } from "@sluice/bus";
import {
  type ClusterRecord,
  clustersTable,
  LogOutOfReachError,
  type SliceValue,
  slicesTable,
} from "@sluice/contracts";
import { Backoff, type Kit } from "@sluice/service-kit";
import { isKnown } from "./checkpoints.ts";

/** What the log last knew: held until something with authority contradicts it. */
export interface Seed {
  readonly slices: ReadonlyMap<string, SliceValue>;
  readonly clusters: ReadonlyMap<string, ClusterRecord>;
}

export const nothingKnown: Seed = { slices: new Map(), clusters: new Map() };

/**
 * What an aggregator begins with where the bus knows of nobody's slices that they are whole, e.g. because its buckets
 * were lost while the log was not: the newest checkpoint and the log behind it. So `topology` comes back while every
 * member is away. Empty where the bus knows better, or the log nothing.
 */
export async function seedFromLog({ log }: Pick<Bus, "log">, kit: Kit, signal: AbortSignal): Promise<Seed> {
  if (log === null) return nothingKnown;
  const backoff = new Backoff(100, 2000, kit.random.next);
  for (;;) {
    try {
      return await seedOnce(log, kit, signal);
    } catch (err) {
      signal.throwIfAborted();
      if (err instanceof LogOutOfReachError) {
        kit.log.warn({ err }, "the log cannot tell what the slices were");
        return nothingKnown;
      }
      kit.log.debug({ err }, "the log did not answer, asking again");
      await kit.clock.sleep(backoff.next(), signal);
    }
  }
}

async function seedOnce(log: BusLog, kit: Kit, signal: AbortSignal): Promise<Seed> {
  const { last } = await log.extent(signal);
  if (last === 0 || (await isKnown(log, signal))) return nothingKnown;
  const past = await pastAt(log, { seq: last }, [slicesTable, clustersTable], signal);
  const slices = new Map([...past.table(slicesTable).believed()] as [string, SliceValue][]);
  const clusters = new Map([...past.table(clustersTable).believed()] as [string, ClusterRecord][]);
  kit.log.info(
    { sequence: last, slices: slices.size, clusters: clusters.size },
    "begins with what the log last knew",
  );
  return { slices, clusters };
}
