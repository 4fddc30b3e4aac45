import { type RecordedRecord, ReplayTarget } from "@sluice/bus";
import { ConfigError, decode, LogLine, ReplayIntervalError } from "@sluice/contracts";
import { type Clock, createKit, systemClock } from "@sluice/service-kit";
import { askGatewayLines, errorOf, gatewayAddress } from "./gateway.ts";
import { describeGap, instant, moment, place, warn } from "./past-options.ts";

export interface ReplayOptions {
  readonly gateway?: string;
  readonly from: string;
  readonly to: string;
  readonly speed: string;
  readonly into: string;
  readonly intoNkey?: string;
  readonly intoCa?: string;
}

/** Records on their way to the target at a time. */
const IN_FLIGHT = 64;
const ANSWER_MS = 10_000;

/**
 * `sluice replay`: feeds what was recorded of slices, clusters and intents into another bus: first as it lay at the
 * beginning, then each record when it came. What lives on that bus lives through it again.
 */
export async function replayCommand(
  options: ReplayOptions,
  signal: AbortSignal,
  clock: Clock = systemClock,
): Promise<number> {
  const pace = speedOf(options.speed);
  const query = { from: moment(options.from), to: moment(options.to) };
  const read = (line: unknown, subject: string) => decode(LogLine, line, subject);
  const lines = askGatewayLines(
    gatewayAddress(options.gateway),
    read,
    { path: "/api/v1/log", query },
    signal,
  );
  const began = clock.monotonic();
  /** When the first record was due. */
  let base: number | null = null;
  const { intoNkey: nkey, intoCa: ca } = options;
  const files = { ...(nkey === undefined ? {} : { nkey }), ...(ca === undefined ? {} : { ca }) };
  let target: ReplayTarget | null = null;
  let boot = "";
  let from = 0;
  let written = 0;
  let pending: RecordedRecord[] = [];
  const flush = async () => {
    const records = pending;
    pending = [];
    if (records.length > 0) await target?.write(records, boot);
    written += records.length;
  };
  try {
    for await (const line of lines) {
      if (line.start !== undefined) {
        boot = line.start.boot;
        from = line.start.place.at;
        warn(`replaying from ${place(line.start.place)}`);
        const kit = createKit({ service: "replay", signal, clock });
        const recordedBoot = line.start.reach.boot;
        target = await ReplayTarget.open({
          url: options.into,
          files,
          recordedBoot,
          answerMs: ANSWER_MS,
          kit,
        });
      }
      if (line.gap?.reason === "wiped") {
        throw new ReplayIntervalError(
          `${place(line.gap)}: the bucket of ${line.gap.table} was emptied or restored; replay what is before or behind it`,
        );
      }
      if (line.gap !== undefined) warn(describeGap(line.gap));
      if (line.boot !== undefined) {
        await flush();
        boot = line.boot;
      }
      if (line.state !== undefined) pending.push(recordOf(line.state));
      if (line.entry !== undefined) {
        base ??= clock.monotonic();
        const waitMs = pace === null ? 0 : (line.entry.at - from) / pace - (clock.monotonic() - base);
        if (waitMs > 0) {
          await flush();
          await clock.sleep(waitMs, signal);
        }
        pending.push(recordOf(line.entry));
      }
      if (pending.length >= IN_FLIGHT) await flush();
      if (line.end !== undefined) {
        await flush();
        const seconds = ((clock.monotonic() - began) / 1000).toFixed(1);
        warn(`${written} records up to ${instant(line.end.at)} (#${line.end.seq}) in ${seconds} s`);
        return 0;
      }
      if (line.error !== undefined) throw errorOf(line.error);
    }
    throw errorOf({ message: "the recording ended before its end" });
  } catch (error) {
    if (!signal.aborted) throw error;
    warn(`stopped after ${written} records`);
    return 1;
  } finally {
    await target?.close();
  }
}

function recordOf({ table, key, value }: { table: string; key: string; value: string }): RecordedRecord {
  return { table, key, value: Buffer.from(value, "utf8") };
}

/** How many times as fast as it was; null: without waiting. @throws ConfigError */
function speedOf(text: string): number | null {
  if (text === "max") return null;
  const speed = Number(text);
  if (!Number.isFinite(speed) || speed <= 0) throw new ConfigError(`--speed ${text}: write a number, or max`);
  return speed;
}
