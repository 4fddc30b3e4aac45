// Whether what is said of listeners stands in nginx.conf as it was said: the bounds of each setting stated a second time,
// and a configuration made of plain words, in which the given ones must take the places of these and no others.
import { type ListenerSettings, readListenerSettings } from "@sluice/ingress";
import { type NginxOptions, renderNginx } from "@sluice/proxy-agent/testing";
import { UnexpectedError } from "./expected-locations.ts";
import { type ConfNode, readNginxConf } from "./read-nginx-conf.ts";

type Listeners = Partial<ListenerSettings>;

const DAY_MS = 24 * 3600 * 1000;

const NUMBERS: Readonly<Record<string, readonly [number, number]>> = {
  hstsMaxAgeSeconds: [0, 2147483647],
  tlsSessionCacheBytes: [1048576, 268435456],
  tlsSessionSeconds: [1, 86400],
  tlsBufferBytes: [1024, 65536],
  http2Streams: [1, 10000],
  keepAliveMs: [0, 3600000],
  keepAliveRequests: [1, 1e9],
  headerTimeoutMs: [1000, 3600000],
  headerBufferBytes: [1024, 65536],
  bodyTimeoutMs: [1000, DAY_MS],
  shutdownMs: [1000, DAY_MS],
  peerConnections: [1, 10000],
  peerIdleMs: [1000, 3600000],
  peerRequests: [1, 1e9],
  peerLifeMs: [1000, 7 * DAY_MS],
};

const FLAGS = new Set(
  (
    "forwardedHeaders fullForwardedFor realIp proxyProtocol hsts hstsSubdomains hstsPreload tlsSessionCache " +
    "tlsSessionTickets http2 versionTold requestIds accessLog"
  ).split(" "),
);

/** Words, and of some of them plain ones that stand for them. */
const TEXTS: Readonly<Record<string, { readonly fits: RegExp; readonly plain?: string }>> = {
  forwardedForHeader: { fits: /^[A-Za-z][A-Za-z0-9-]{0,127}$/, plain: "X-Plain" },
  tlsProtocols: { fits: /^TLSv1\.[23]( TLSv1\.3)?$/ },
  tlsCiphers: { fits: /^!?[A-Za-z0-9-]+(:!?[A-Za-z0-9-]+)*$/, plain: "PLAIN-SUITE" },
  tlsCurves: { fits: /^[A-Za-z0-9-]+(:[A-Za-z0-9-]+)*$/, plain: "PLAIN-CURVE" },
  largeHeaderBuffers: { fits: /^[0-9]{1,2} [0-9]{4,7}$/ },
  // Data of nginx's Lua, never text of its configuration.
  unloggedUrls: { fits: /^(\/[\x21-\x2b\x2d-\x7e]*(,\/[\x21-\x2b\x2d-\x7e]*)*)?$/ },
};
const RANGE = /^[0-9a-fA-F:.]+\/[0-9]{1,3}$/;

/** @throws UnexpectedError */
function judgeValues(listeners: Listeners): void {
  for (const [name, value] of Object.entries(listeners)) {
    const bounds = NUMBERS[name];
    const fits =
      bounds !== undefined
        ? Number.isSafeInteger(value) && (value as number) >= bounds[0] && (value as number) <= bounds[1]
        : FLAGS.has(name)
          ? typeof value === "boolean"
          : name === "trusted"
            ? typeof value === "string" && rangesOf(value).every((range) => RANGE.test(range))
            : typeof value === "string" && TEXTS[name]?.fits.test(value) === true;
    if (!fits) throw new UnexpectedError(`listeners: ${name} may not be ${JSON.stringify(value)}`);
  }
}

function rangesOf(text: string): string[] {
  return text === "" ? [] : text.split(" ");
}

/** The same settings in plain words, and what stands for what. */
function plainOf(listeners: Listeners): {
  readonly plain: Listeners;
  readonly of: ReadonlyMap<string, string>;
} {
  const plain: Record<string, unknown> = { ...listeners };
  const of = new Map<string, string>();
  for (const [name, { plain: word }] of Object.entries(TEXTS)) {
    const value = listeners[name as keyof Listeners];
    if (word === undefined || typeof value !== "string") continue;
    plain[name] = word;
    of.set(word, value);
  }
  if (listeners.trusted !== undefined) {
    const ranges = rangesOf(listeners.trusted).map(
      (range, i) => [`198.18.${i >> 8}.${i & 255}/32`, range] as const,
    );
    plain["trusted"] = ranges.map(([word]) => word).join(" ");
    for (const [word, range] of ranges) of.set(word, range);
  }
  return { plain, of };
}

function linesOf(nodes: readonly ConfNode[], of: ReadonlyMap<string, string>, path = ""): string[] {
  return nodes.flatMap(({ name, args, block, lua }) => {
    const words = [name, ...args].map((word) => of.get(word) ?? word);
    const line = JSON.stringify([path, ...words, lua ?? null, block === null]);
    return [line, ...(block === null ? [] : linesOf(block, of, `${path}/${name}`))];
  });
}

const SETTINGS_FILE = /settings-[0-9a-f]{16}\.json/g;

/** @param given of a row, whoever wrote it. @returns what of it holds. @throws UnexpectedError */
export function judgeListeners(given: Readonly<Record<string, unknown>>, options: NginxOptions): Listeners {
  const { settings: listeners } = readListenerSettings(given as Parameters<typeof readListenerSettings>[0]);
  judgeValues(listeners);
  const { plain, of } = plainOf(listeners);
  const read = (said: Listeners, words: ReadonlyMap<string, string>) => {
    const { conf } = renderNginx({ ...options, listeners: said }, new Map());
    return linesOf(readNginxConf(conf.replaceAll(SETTINGS_FILE, "settings.json")), words);
  };
  const [there, wanted] = [read(listeners, new Map()), read(plain, of)];
  const wrong = there.findIndex((line, i) => line !== wanted[i]);
  if (wrong >= 0 || there.length !== wanted.length) {
    throw new UnexpectedError(
      `listeners: nginx.conf says ${there[wrong] ?? "less"}, not ${wanted[wrong] ?? "that"}`,
    );
  }
  return listeners;
}
