// Keys of ingress-nginx's ConfigMap that are about listeners, and about nginx as a whole.
import { MAX_RANGES, ranges } from "../access-values.ts";
import {
  reader,
  seconds,
  size,
  trueFalse,
  type ValueReader,
  wholeNumber,
  words,
} from "../annotation-values.ts";
import { tlsCiphers } from "../backend-values.ts";
import {
  isCurveList,
  isHeaderOfClients,
  isUrlPath,
  type ListenerSettings,
  largeHeaderBounds,
  listenerBounds,
  listenerProtocols,
  MAX_UNLOGGED,
} from "../listener-settings.ts";

/** Becomes one setting of the fleet's proxies. */
export interface SettingKey {
  readonly kind: "setting";
  readonly name: string;
  readonly setting: keyof ListenerSettings;
  readonly value: ValueReader<string | number | boolean>;
  /** What holds when neither the ConfigMap nor a proxy's own flag says it. */
  readonly unsaid: string;
  readonly note: string;
  /** What holds while its text is not of its shape, where what holds when nothing is said would be too much. */
  readonly meanwhile?: { readonly value: string; readonly what: string };
}

const bounds = listenerBounds;

function key<K extends keyof ListenerSettings>(
  name: string,
  setting: K,
  value: ValueReader<ListenerSettings[K]>,
  unsaid: string,
  note = "",
): SettingKey {
  return { kind: "setting", name, setting, value: value as SettingKey["value"], unsaid, note };
}

const TIME_UNITS: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
};

/** As nginx writes times, without its weeks, months and years. @returns milliseconds */
function time([min, max]: readonly [number, number]): ValueReader<number> {
  const shape = `a time such as 30s, 10m or 1h 30m, ${min / 1000}s to ${max / 1000}s; without a unit: seconds`;
  return reader(shape, (text) => {
    if (!/^(?:[0-9]{1,9}(?:ms|[smhd])? ?)+$/.test(`${text} `)) return null;
    const parts = text.match(/[0-9]+(?:ms|[smhd])?/g) ?? [];
    const ms = parts.reduce((sum, part) => {
      const [, count = "", unit = "s"] = /^([0-9]+)(ms|[smhd])?$/.exec(part) ?? [];
      return sum + Number(count) * (TIME_UNITS[unit] as number);
    }, 0);
    return ms >= min && ms <= max ? ms : null;
  });
}

function timeInSeconds([min, max]: readonly [number, number]): ValueReader<number> {
  const ms = time([min * 1000, max * 1000]);
  return {
    shape: ms.shape,
    read: (text) => {
      const reading = ms.read(text);
      return reading.ok ? { ok: true, value: Math.floor(reading.value / 1000) } : reading;
    },
  };
}

const not = (of: ValueReader<boolean>): ValueReader<boolean> => ({
  shape: of.shape,
  read: (text) => {
    const reading = of.read(text);
    return reading.ok ? { ok: true, value: !reading.value } : reading;
  },
});

const trusted: ValueReader<string> = reader(ranges.shape.replace(String(MAX_RANGES), "1000"), (text) => {
  const reading = ranges.read(text);
  return reading.ok && reading.value.length <= 1000 ? reading.value.join(" ") : null;
});

const headerBytes = size(largeHeaderBounds.bytes);
const [fewest, most] = largeHeaderBounds.count;

const largeBuffers: ValueReader<string> = reader(
  `a number, ${fewest} to ${most}, and ${headerBytes.shape}, with a blank between`,
  (text) => {
    const [, count, bytes = ""] = /^([0-9]{1,3})\s+(\S+)$/.exec(text) ?? [];
    const each = headerBytes.read(bytes);
    const fits = Number(count) >= fewest && Number(count) <= most;
    return fits && each.ok ? `${Number(count)} ${each.value}` : null;
  },
);

const urls: ValueReader<string> = reader(
  `up to ${MAX_UNLOGGED} paths that begin with /, of printable ASCII, with commas between`,
  (text) => {
    const given = text.split(",").flatMap((each) => (each.trim() === "" ? [] : [each.trim()]));
    return given.length <= MAX_UNLOGGED && given.every(isUrlPath) ? given.join(",") : null;
  },
);

const header: ValueReader<string> = reader("the name of a header: letters, digits and -", (text) =>
  isHeaderOfClients(text) ? text : null,
);

const curves: ValueReader<string> = reader(
  "auto, or names of X25519, P-256, P-384, P-521 with colons between",
  (text) => (isCurveList(text) ? text : null),
);

export const settingKeys: readonly SettingKey[] = [
  key(
    "use-forwarded-headers",
    "forwardedHeaders",
    trueFalse,
    "false",
    "X-Forwarded-For, -Proto, -Host and -Port of whoever proxy-real-ip-cidr names are believed; ingress-nginx believes -Proto, -Host and -Port of everybody",
  ),
  key("forwarded-for-header", "forwardedForHeader", header, "X-Forwarded-For"),
  key(
    "compute-full-forwarded-for",
    "fullForwardedFor",
    trueFalse,
    "false",
    "only with use-forwarded-headers, as in ingress-nginx",
  ),
  key(
    "enable-real-ip",
    "realIp",
    trueFalse,
    "false",
    "the client's address is that in forwarded-for-header, and nothing else of what is said",
  ),
  {
    ...key(
      "proxy-real-ip-cidr",
      "trusted",
      trusted,
      "0.0.0.0/0 where use-forwarded-headers, enable-real-ip or use-proxy-protocol is on, else nobody",
      "whose word is taken; by IPv6 that is nobody's unless ::/0 is written",
    ),
    meanwhile: { value: "", what: "nobody's word on addresses is taken" },
  },
  key(
    "use-proxy-protocol",
    "proxyProtocol",
    trueFalse,
    "false",
    "on both listeners; who sends no such header is not served. Beside use-forwarded-headers the client's address is that of PROXY protocol, as in ingress-nginx",
  ),
  key("hsts", "hsts", trueFalse, "true", "where a host has a certificate of its own"),
  key("hsts-max-age", "hstsMaxAgeSeconds", wholeNumber(bounds.hstsMaxAgeSeconds), "31536000", "seconds"),
  key("hsts-include-subdomains", "hstsSubdomains", trueFalse, "true"),
  key("hsts-preload", "hstsPreload", trueFalse, "false"),
  key(
    "ssl-protocols",
    "tlsProtocols",
    words(listenerProtocols),
    listenerProtocols.join(" "),
    "nothing older is spoken: what distributions ship refuses it",
  ),
  key(
    "ssl-ciphers",
    "tlsCiphers",
    tlsCiphers,
    "six suites with ECDHE and AES-GCM or ChaCha20",
    "of TLS 1.2; a list with which the certificate cannot be shown that names without one get (by itself: ECDSA) is taken back, unless TLS 1.3 is spoken",
  ),
  key("ssl-ecdh-curve", "tlsCurves", curves, "auto"),
  key("ssl-session-cache", "tlsSessionCache", trueFalse, "true"),
  key("ssl-session-cache-size", "tlsSessionCacheBytes", size(bounds.tlsSessionCacheBytes), "10m"),
  key("ssl-session-timeout", "tlsSessionSeconds", timeInSeconds(bounds.tlsSessionSeconds), "10m"),
  key(
    "ssl-session-tickets",
    "tlsSessionTickets",
    trueFalse,
    "false",
    "their key is as old as nginx: who has it can read all that was said meanwhile by TLS 1.2",
  ),
  key("ssl-buffer-size", "tlsBufferBytes", size(bounds.tlsBufferBytes), "4k"),
  key("use-http2", "http2", trueFalse, "true"),
  key("http2-max-concurrent-streams", "http2Streams", wholeNumber(bounds.http2Streams), "128"),
  key("keep-alive", "keepAliveMs", seconds(bounds.keepAliveMs), "75", "0: a connection is for one request"),
  key(
    "keep-alive-requests",
    "keepAliveRequests",
    wholeNumber(bounds.keepAliveRequests),
    "100000",
    "ingress-nginx: 1000",
  ),
  key("client-header-timeout", "headerTimeoutMs", seconds(bounds.headerTimeoutMs), "60"),
  key("client-header-buffer-size", "headerBufferBytes", size(bounds.headerBufferBytes), "1k"),
  key("large-client-header-buffers", "largeHeaderBuffers", largeBuffers, "4 8k"),
  key("client-body-timeout", "bodyTimeoutMs", seconds(bounds.bodyTimeoutMs), "60", "between two reads"),
  key("server-tokens", "versionTold", trueFalse, "false"),
  key("generate-request-id", "requestIds", trueFalse, "true"),
  key(
    "disable-access-log",
    "accessLog",
    not(trueFalse),
    "as the proxy has it (docs/reference/access-log.md)",
    "false: into the file of the proxy's folder",
  ),
  key(
    "skip-access-log-urls",
    "unloggedUrls",
    urls,
    "",
    "compared with path and query as they came; in ingress-nginx they may be regular expressions (~), here they are not",
  ),
  key(
    "worker-shutdown-timeout",
    "shutdownMs",
    time(bounds.shutdownMs),
    "240s",
    "how long streams may outlive a reload",
  ),
  key(
    "upstream-keepalive-connections",
    "peerConnections",
    wholeNumber(bounds.peerConnections),
    "256",
    "of each worker, to all peers together; ingress-nginx: 320",
  ),
  key("upstream-keepalive-timeout", "peerIdleMs", seconds(bounds.peerIdleMs), "60"),
  key(
    "upstream-keepalive-requests",
    "peerRequests",
    wholeNumber(bounds.peerRequests),
    "100000",
    "ingress-nginx: 10000",
  ),
  key("upstream-keepalive-time", "peerLifeMs", time(bounds.peerLifeMs), "1h"),
];
