import { ConfigError, type LogGap, type LogPlace, type LogReach, parseMoment } from "@sluice/contracts";
import type { Query } from "./gateway.ts";

/** An answer about the past reads a checkpoint and up to a gigabyte of log behind it. */
export const PAST_ANSWER_MS = 120_000;

/** `ns/name`, or a name in any namespace. @throws ConfigError */
export function serviceQuery(service: string | undefined): Query {
  if (service === undefined) return {};
  const [first = "", second, ...more] = service.split("/");
  if (more.length > 0 || first === "" || second === "") {
    throw new ConfigError(`${service}: write NAMESPACE/NAME or NAME`);
  }
  return second === undefined ? { service: first } : { namespace: first, service: second };
}

/** A moment as the gateway reads it, so that both count from the same clock. @throws MomentError */
export function moment(text: string | undefined): string | undefined {
  if (text !== undefined) parseMoment(text, Date.now());
  return text;
}

/** @throws ConfigError */
export function outputFormat<F extends string>(given: string, formats: readonly F[]): F {
  const found = formats.find((format) => format === given);
  if (found === undefined) throw new ConfigError(`-o ${given}: write ${formats.join(" or ")}`);
  return found;
}

export function instant(at: number): string {
  return new Date(at).toISOString();
}

export function place({ seq, at }: LogPlace): string {
  return `${instant(at)} (#${seq})`;
}

export function describeGap({ seq, at, table, reason }: LogGap): string {
  const what =
    reason === "missing"
      ? `records of ${table} never reached the log`
      : `the bucket of ${table} was emptied or restored`;
  return `${place({ seq, at })}: ${what}; what is told of the time after it may be inexact until the next checkpoint`;
}

export function describeReach({ oldest, bytes, maxBytes, maxAgeSeconds }: LogReach): string {
  const since = oldest === null ? "nothing yet" : place({ seq: oldest.seq, at: Math.ceil(oldest.at) });
  return `oldest reachable: ${since}; the log holds ${size(bytes)} of at most ${size(maxBytes)}, ${Math.round(maxAgeSeconds / 3600)} h`;
}

function size(bytes: number): string {
  if (bytes < 1e6) return `${Math.ceil(bytes / 1e3)} kB`;
  return bytes < 1e9 ? `${Math.round(bytes / 1e6)} MB` : `${(bytes / 1e9).toFixed(1)} GB`;
}

/** To stderr: stdout is for the answer. */
export function warn(text: string): void {
  process.stderr.write(`sluice: ${text}\n`);
}
