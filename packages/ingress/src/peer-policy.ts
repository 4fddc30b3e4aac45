import type { HealthCheck, PeerPolicy } from "@sluice/contracts";
import { duration, readSaid, whole } from "./import-annotations.ts";

export const HEALTH_CHECK = "sluice.dev/health-check";
export const SLOW_START = "sluice.dev/slow-start";
export const MAX_CONNECTIONS = "sluice.dev/max-connections";
export const PANIC_THRESHOLD = "sluice.dev/panic-threshold";

export const peerPolicyShapes = {
  [HEALTH_CHECK]:
    "http, https, tcp, grpc or grpcs, then with blanks between any of interval=, timeout= (times such as 250ms, 2s or 1m), " +
    "misses=, passes= (1 to 100), for http and https also path=, host=, status= (such as 200 or 200-399), for grpc and grpcs service=",
  [SLOW_START]: "a time such as 30s or 5m, 1s to 60m",
  [MAX_CONNECTIONS]: "a whole number, 1 to 1000000",
  [PANIC_THRESHOLD]: "a whole number of percent, 0 to 100",
} as const;

const TIMES = [50, 3_600_000] as const;
const COUNT = [1, 100] as const;
const STATUS = [100, 599] as const;
const PATH = /^\/[\x21-\x7e]{0,2047}$/;
const HOST = /^[0-9A-Za-z._:[\]-]{1,259}$/;
const SERVICE = /^[0-9A-Za-z._/-]{1,253}$/;

/** Five seconds and a second: what a pod's own probes are asked at, half as often again. */
const unsaid = { intervalMs: 5000, timeoutMs: 1000, misses: 2, passes: 2 };

type Draft = { -readonly [K in keyof HealthCheck]?: HealthCheck[K] };

/** Puts what one word says into the draft. @returns whether it can be said of this kind */
type Word = (text: string, draft: Draft) => boolean;

function number(
  key: "intervalMs" | "timeoutMs" | "misses" | "passes",
  read: (text: string) => number | null,
): Word {
  return (text, draft) => {
    const value = read(text);
    if (value === null) return false;
    draft[key] = value;
    return true;
  };
}

function text(key: "path" | "host" | "service", pattern: RegExp): Word {
  return (value, draft) => {
    draft[key] = value;
    return pattern.test(value);
  };
}

const status: Word = (value, draft) => {
  const [, from = "", to = from] = /^([0-9]{3})(?:-([0-9]{3}))?$/.exec(value) ?? [];
  const first = whole(from, STATUS);
  const last = whole(to, STATUS);
  if (first === null || last === null || first > last) return false;
  Object.assign(draft, { statusFrom: first, statusTo: last });
  return true;
};

const common: Readonly<Record<string, Word>> = {
  interval: number("intervalMs", (value) => duration(value, TIMES)),
  timeout: number("timeoutMs", (value) => duration(value, TIMES)),
  misses: number("misses", (value) => whole(value, COUNT)),
  passes: number("passes", (value) => whole(value, COUNT)),
};

const ofHttp = { ...common, path: text("path", PATH), host: text("host", HOST), status };
const ofGrpc = { ...common, service: text("service", SERVICE) };
const wordsOf: Readonly<Record<string, Readonly<Record<string, Word>>>> = {
  http: ofHttp,
  https: ofHttp,
  tcp: common,
  grpc: ofGrpc,
  grpcs: ofGrpc,
};

function readCheck(said: string): HealthCheck | null {
  const [kind = "", ...given] = said.split(/\s+/);
  const words = Object.hasOwn(wordsOf, kind) ? wordsOf[kind] : undefined;
  if (words === undefined) return null;
  const draft: Draft = {};
  const seen = new Set<string>();
  for (const item of given) {
    const at = item.indexOf("=");
    const name = item.slice(0, Math.max(at, 0));
    const word = Object.hasOwn(words, name) ? words[name] : undefined;
    if (word === undefined || seen.has(name) || !word(item.slice(at + 1), draft)) return null;
    seen.add(name);
  }
  // Whoever asks four times a second does not wait a second for each answer.
  const intervalMs = draft.intervalMs ?? unsaid.intervalMs;
  const timeoutMs = Math.min(unsaid.timeoutMs, intervalMs);
  const path = kind === "http" || kind === "https" ? { path: "/" } : {};
  return { ...unsaid, timeoutMs, ...path, ...draft, kind };
}

/** What an import says of its peers, wherever they are. */
export function readPeerPolicy(
  annotations: ReadonlyMap<string, string>,
  warn: (message: string) => void,
): PeerPolicy {
  const read = <T>(name: keyof typeof peerPolicyShapes, of: (text: string) => T | null) =>
    readSaid(annotations, name, of, peerPolicyShapes[name], warn);
  const check = read(HEALTH_CHECK, readCheck);
  const slowStartMs = read(SLOW_START, (value) => duration(value, [1000, 3_600_000]));
  const maxConnections = read(MAX_CONNECTIONS, (value) => whole(value, [1, 1_000_000]));
  const panicPercent = read(PANIC_THRESHOLD, (value) => whole(value, [0, 100]));
  return {
    ...(check === null ? {} : { check }),
    ...(slowStartMs === null ? {} : { slowStartMs }),
    ...(maxConnections === null ? {} : { maxConnections }),
    ...(panicPercent === null ? {} : { panicPercent }),
  };
}
