import { type BusLog, changesSince, pastAt, reachOf } from "@sluice/bus";
import {
  CloudEvent,
  cloudEvent,
  decode,
  encodeToken,
  eventSubject,
  historyEntry,
  parseJson,
  type ServiceEntry,
  serviceChange,
  type TopologyValue,
  topologyTable,
} from "@sluice/contracts";
import { Backoff, type Kit, slept } from "@sluice/service-kit";

/** Events that are on their way to the bus at a time; they arrive in order. */
const IN_FLIGHT = 64;

/** Called when the log turns out to lack something. */
export interface EventListener {
  gap(): void;
}

/**
 * Derives events for others from `topology` as it is believed, by following the log: so the next process that does it
 * goes on where this one ended. At least once: an id that comes again is the same event.
 */
export async function publishEvents(
  log: BusLog,
  listener: EventListener,
  kit: Kit,
  signal: AbortSignal,
): Promise<void> {
  const { clock, random } = kit;
  const published = kit.metrics.counter("sluice_events_published_total", "Events published, by type.", [
    "type",
  ]);
  const gaps = kit.metrics.counter("sluice_log_gaps_total", "Places at which the log is not whole.", [
    "table",
    "reason",
  ]);
  const backoff = new Backoff(500, 30_000, random.next);
  const publish = async (entry: ServiceEntry) => {
    const subject = eventSubject(entry.change, encodeToken);
    const value = Buffer.from(JSON.stringify(cloudEvent(entry)));
    await log.events.publish({ subject, id: entry.id, value }, signal);
    published.inc({ type: entry.change.type });
  };

  async function session(): Promise<void> {
    const last = await lastEvent(log, signal);
    const { oldest, newest } = await reachOf(log, signal);
    if (oldest === null || newest === null) return;
    // One entry may bring about several events; whichever of its are there already is swallowed by its id.
    const wanted = last === null || last.seq > newest.seq ? 0 : last.seq - 1;
    if (last !== null && wanted < oldest.seq - 1) {
      kit.log.warn({ from: wanted, to: oldest.seq }, "events between these sequences are lost");
    }
    const past = await pastAt(log, { seq: Math.max(wanted, oldest.seq) }, [topologyTable], signal);
    const first: ServiceEntry[] = [];
    if (last === null) {
      // Nobody has been told of anything yet.
      const { seq, at, boot } = past;
      for (const [key, value] of past.table(topologyTable).believed()) {
        const change = serviceChange(undefined, value as TopologyValue);
        const revision = past.table(topologyTable).raw.get(key)?.revision ?? 0;
        if (change !== null)
          first.push(historyEntry(change, { seq, at, boot, record: revision }, { key, revision }));
      }
    }
    const inFlight: Promise<void>[] = [];
    const send = async (entry: ServiceEntry) => {
      if (entry.id === last?.id) return;
      const going = publish(entry);
      // Whoever awaits it below hears of its failure; nobody does once another has failed.
      going.catch(() => {});
      inFlight.push(going);
      if (inFlight.length >= IN_FLIGHT) await inFlight.shift();
    };
    for (const entry of first) await send(entry);
    let told = past.gaps.length;
    for await (const { entry, change } of changesSince(
      log,
      past,
      [topologyTable],
      { follow: true },
      signal,
    )) {
      for (; told < past.gaps.length; told++) {
        const { table, reason } = past.gaps[told]!;
        gaps.inc({ table, reason });
        listener.gap();
      }
      const what = serviceChange(
        change.before as TopologyValue | undefined,
        change.after as TopologyValue | undefined,
      );
      if (what === null) continue;
      const { seq, at, revision } = entry;
      await send(historyEntry(what, { seq, at, boot: past.boot, record: revision }, change));
      backoff.reset();
    }
    await Promise.all(inFlight);
  }

  while (!signal.aborted) {
    try {
      await session();
    } catch (err) {
      if (signal.aborted) return;
      kit.log.warn({ err }, "events could not be derived, beginning again behind the last");
    }
    if (!(await slept(clock, 100 + backoff.next(), signal))) return;
  }
}

/** The newest event: what it was derived from, and its id. */
async function lastEvent(log: BusLog, signal: AbortSignal): Promise<{ seq: number; id: string } | null> {
  const value = await log.events.last(signal);
  if (value === null) return null;
  const event = decode(CloudEvent, parseJson(value, "the newest event"), "the newest event");
  return { seq: Number(event.sequence), id: event.id };
}
