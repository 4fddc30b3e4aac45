// What holds for a whole fleet and not for paths: listeners, who is believed about clients, logs, connections to peers.
// nginx takes most of it as text, so that a change of it reloads nginx, one proxy first.
import { type FleetSettings, parseCidr } from "@sluice/contracts";
import { isCipherList } from "./backend-values.ts";

/** All of them scalar: a row names each by itself, and a proxy that cannot run with one says which. */
export interface ListenerSettings {
  /** What trusted proxies say in X-Forwarded-For, -Proto, -Host and -Port holds. */
  readonly forwardedHeaders: boolean;
  /** In place of X-Forwarded-For. */
  readonly forwardedForHeader: string;
  /** Peers get what came in X-Forwarded-For too. */
  readonly fullForwardedFor: boolean;
  /** The client's address is that of the header, and nothing else of what is said. */
  readonly realIp: boolean;
  /** CIDRs with a blank between; empty: nobody. */
  readonly trusted: string;
  readonly proxyProtocol: boolean;
  readonly hsts: boolean;
  readonly hstsMaxAgeSeconds: number;
  readonly hstsSubdomains: boolean;
  readonly hstsPreload: boolean;
  readonly tlsProtocols: string;
  readonly tlsCiphers: string;
  /** Groups for the exchange of keys, with colons between, or `auto`. */
  readonly tlsCurves: string;
  readonly tlsSessionCache: boolean;
  readonly tlsSessionCacheBytes: number;
  readonly tlsSessionSeconds: number;
  readonly tlsSessionTickets: boolean;
  readonly tlsBufferBytes: number;
  readonly http2: boolean;
  readonly http2Streams: number;
  /** 0: each connection is for one request. */
  readonly keepAliveMs: number;
  readonly keepAliveRequests: number;
  readonly headerTimeoutMs: number;
  readonly headerBufferBytes: number;
  /** Number and bytes, such as `4 8192`. */
  readonly largeHeaderBuffers: string;
  readonly bodyTimeoutMs: number;
  /** nginx says which version it is. */
  readonly versionTold: boolean;
  /** A request without X-Request-Id gets one. */
  readonly requestIds: boolean;
  readonly accessLog: boolean;
  /** Paths with their queries as they come, with commas between. */
  readonly unloggedUrls: string;
  readonly shutdownMs: number;
  /** Idle connections to peers that each worker keeps. */
  readonly peerConnections: number;
  readonly peerIdleMs: number;
  readonly peerRequests: number;
  readonly peerLifeMs: number;
}

type Bounds = readonly [min: number, max: number];

const HOUR_MS = 3_600_000;

/** So that no value can make nginx refuse its configuration, or take a machine's memory. */
export const listenerBounds = {
  hstsMaxAgeSeconds: [0, 2 ** 31 - 1],
  // A zone of nginx has eight pages at least.
  tlsSessionCacheBytes: [2 ** 20, 2 ** 28],
  tlsSessionSeconds: [1, 86_400],
  tlsBufferBytes: [1024, 2 ** 16],
  http2Streams: [1, 10_000],
  keepAliveMs: [0, HOUR_MS],
  keepAliveRequests: [1, 1_000_000_000],
  headerTimeoutMs: [1000, HOUR_MS],
  headerBufferBytes: [1024, 2 ** 16],
  bodyTimeoutMs: [1000, 24 * HOUR_MS],
  shutdownMs: [1000, 24 * HOUR_MS],
  peerConnections: [1, 10_000],
  peerIdleMs: [1000, HOUR_MS],
  peerRequests: [1, 1_000_000_000],
  peerLifeMs: [1000, 7 * 24 * HOUR_MS],
} as const satisfies { readonly [K in keyof ListenerSettings]?: Bounds };

/** Number, and bytes of each. */
export const largeHeaderBounds = { count: [1, 64], bytes: [1024, 2 ** 20] } as const;

const MAX_TRUSTED = 1000;
export const MAX_UNLOGGED = 200;
const MAX_URL = 2048;
/** What is spoken to clients: nothing older can be had of what distributions ship. */
export const listenerProtocols: readonly string[] = ["TLSv1.2", "TLSv1.3"];
const CURVES: ReadonlySet<string> = new Set([
  "X25519",
  "prime256v1",
  "secp384r1",
  "secp521r1",
  "P-256",
  "P-384",
  "P-521",
]);

const within = (value: number, [min, max]: Bounds) => Number.isInteger(value) && value >= min && value <= max;

export function isCurveList(text: string): boolean {
  return text === "auto" || text.split(":").every((name) => CURVES.has(name));
}

/** As nginx sees it: in a request line there is neither a blank nor a control character. */
export function isUrlPath(text: string): boolean {
  return text.length <= MAX_URL && /^\/[\x21-\x2b\x2d-\x7e]*$/.test(text);
}

export function isHeaderOfClients(text: string): boolean {
  return /^[A-Za-z][A-Za-z0-9-]{0,127}$/.test(text);
}

function isLargeBuffers(text: string): boolean {
  const [, count, bytes] = /^([0-9]{1,3}) ([0-9]{1,8})$/.exec(text) ?? [];
  return within(Number(count), largeHeaderBounds.count) && within(Number(bytes), largeHeaderBounds.bytes);
}

const listOf = (text: string, between: string) => (text === "" ? [] : text.split(between));

const texts: { readonly [K in keyof ListenerSettings]?: (value: string) => boolean } = {
  forwardedForHeader: isHeaderOfClients,
  trusted: (text) => {
    const ranges = listOf(text, " ");
    return ranges.length <= MAX_TRUSTED && ranges.every((range) => parseCidr(range) !== null);
  },
  tlsProtocols: (text) => text.split(" ").every((word) => listenerProtocols.includes(word)),
  tlsCiphers: isCipherList,
  tlsCurves: isCurveList,
  largeHeaderBuffers: isLargeBuffers,
  unloggedUrls: (text) => {
    const urls = listOf(text, ",");
    return urls.length <= MAX_UNLOGGED && urls.every(isUrlPath);
  },
};

const flags: ReadonlySet<string> = new Set<keyof ListenerSettings>([
  "forwardedHeaders",
  "fullForwardedFor",
  "realIp",
  "proxyProtocol",
  "hsts",
  "hstsSubdomains",
  "hstsPreload",
  "tlsSessionCache",
  "tlsSessionTickets",
  "http2",
  "versionTold",
  "requestIds",
  "accessLog",
]);

/** What is wrong with a setting; null: nothing. */
function problemOf(name: string, value: FleetSettings[string]): string | null {
  if (flags.has(name)) return typeof value === "boolean" ? null : "is neither true nor false";
  const bounds = Object.hasOwn(listenerBounds, name)
    ? listenerBounds[name as keyof typeof listenerBounds]
    : null;
  if (bounds !== null) {
    const fits = typeof value === "number" && within(value, bounds);
    return fits ? null : `is not a whole number from ${bounds[0]} to ${bounds[1]}`;
  }
  const fits = Object.hasOwn(texts, name) ? texts[name as keyof ListenerSettings] : undefined;
  if (fits === undefined) return "is unknown to this version";
  return typeof value === "string" && fits(value) ? null : "is none of what nginx takes";
}

export interface SettingProblem {
  readonly setting: string;
  readonly why: string;
}

/** A row is judged where it is used, whoever wrote it: what cannot be read is left out, and said. */
export function readListenerSettings(given: FleetSettings): {
  readonly settings: Partial<ListenerSettings>;
  readonly problems: readonly SettingProblem[];
} {
  const problems: SettingProblem[] = [];
  const settings: Record<string, FleetSettings[string]> = {};
  for (const [setting, value] of Object.entries(given).sort(([a], [b]) => (a < b ? -1 : 1))) {
    const problem = problemOf(setting, value);
    if (problem === null) settings[setting] = value;
    else problems.push({ setting, why: `setting ${setting} ${problem}` });
  }
  return { settings, problems };
}
