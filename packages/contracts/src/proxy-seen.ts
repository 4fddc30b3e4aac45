import type { ProxyRecord } from "./records.ts";

/** A proxy writes its record every two seconds; without a newer one for this long it counts as gone, ms. */
export const PROXY_LIVE_MS = 10_000;

/** What a reader knows of one proxy, told by the reader's own time. */
export interface ProxySeen {
  readonly record: ProxyRecord;
  /** When its newest record came in, ms since 1970. */
  readonly heardAt: number;
}

/**
 * @param before what was known of the proxy; undefined: another clock than the reader's has to do for once
 * @param storedAt when the bus's server took the record, by its own clock; without it the proxy's clock is asked
 */
export function sawProxy(
  before: ProxySeen | undefined,
  record: ProxyRecord,
  now: number,
  storedAt: number = record.at,
): ProxySeen {
  if (before === undefined) return { record, heardAt: Math.min(now, storedAt) };
  // Delivered once more, e.g. after a reconnect: nobody has said it anew.
  return { record, heardAt: before.record.at === record.at ? before.heardAt : now };
}

/** It is heard of, and its nginx runs: what it says of clusters comes from requests. */
export function isProxyLive({ record, heardAt }: ProxySeen, now: number): boolean {
  return now - heardAt <= PROXY_LIVE_MS && record.nginx.up;
}
