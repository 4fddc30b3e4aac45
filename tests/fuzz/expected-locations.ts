// What a profile may say in nginx.conf, stated a second time and in other terms than the emitter's: a setting, the
// directives that it becomes, and the only values that these may have. Whoever adds a setting adds it here.
import type { ConfNode } from "./read-nginx-conf.ts";

export type Settings = Readonly<Record<string, unknown>>;

/** The directives of a location, each as one list of words. */
export type Lines = readonly (readonly string[])[];

/** What is there is not what may be there. */
export class UnexpectedError extends Error {}

function whole(value: unknown, least: number, most: number): number {
  if (typeof value === "number" && Number.isSafeInteger(value) && value >= least && value <= most)
    return value;
  throw new UnexpectedError(`${JSON.stringify(value)} is no whole number from ${least} to ${most}`);
}

const DAY_MS = 24 * 3600 * 1000;
const FAILURES = new Set(
  "error timeout invalid_header http_500 http_502 http_503 http_504 http_403 http_404 http_429 non_idempotent off".split(
    " ",
  ),
);

/** What a value has to be: as whoever reads a row must hold it, or as the emitter does, which knows types and no bounds. */
interface Rules {
  number(value: unknown, least: number, most: number): number;
  flag(value: unknown): boolean;
  version(value: unknown): string;
  failure(word: string): boolean;
  text(name: string, value: unknown): string;
}

/** Of what holds for a name in DNS, an id of a row, a list of suites, versions. */
const TEXTS: Readonly<Record<string, RegExp>> = {
  tlsName: /^([A-Za-z0-9][A-Za-z0-9.-]{0,251}[A-Za-z0-9]|[A-Za-z0-9])?$/,
  tlsAuthorities: /^[0-9a-z-]{0,128}$/,
  tlsClient: /^[0-9a-z-]{0,128}$/,
  tlsProtocols: /^TLSv1(\.[123])?( TLSv1(\.[123])?){0,3}$/,
  tlsCiphers: /^!?[A-Za-z0-9-]+(:!?[A-Za-z0-9-]+)*$/,
};

const judged: Rules = {
  number: whole,
  flag: (value) => {
    if (typeof value === "boolean") return value;
    throw new UnexpectedError(`${JSON.stringify(value)} is neither true nor false`);
  },
  version: (value) => {
    if (value === "1.0" || value === "1.1") return value;
    throw new UnexpectedError(`${JSON.stringify(value)} is no version`);
  },
  failure: (word) => FAILURES.has(word),
  text: (name, value) => {
    if (typeof value === "string" && TEXTS[name]?.test(value) === true) return value;
    throw new UnexpectedError(`${name} may not be ${JSON.stringify(value)}`);
  },
};

const typed: Rules = {
  number: (value) => whole(value, 0, Number.MAX_SAFE_INTEGER),
  flag: Boolean,
  version: (value) => (value === "1.0" ? "1.0" : "1.1"),
  failure: (word) => /^[a-z0-9_.]+$/.test(word),
  text: (_, value) => (typeof value === "string" ? value : ""),
};

/** Statuses that have a location of their own. @throws UnexpectedError */
export function codesOf(value: unknown): number[] {
  if (value === undefined || value === "") return [];
  return String(value)
    .split(" ")
    .map((word) => whole(Number(word), 400, 599));
}

/** By setting; what is not here must not be in a row. */
function statements(rules: Rules): Readonly<Record<string, (value: unknown) => Lines>> {
  const time = (directive: string, least: number) => (value: unknown) => [
    [directive, `${rules.number(value, least, DAY_MS)}ms`],
  ];
  const count = (directive: string, least: number, most: number) => (value: unknown) => [
    [directive, String(rules.number(value, least, most))],
  ];
  const flag = (directive: string) => (value: unknown) => [[directive, rules.flag(value) ? "on" : "off"]];
  /** Stands in nginx.conf by what it does to others, or not at all. */
  const unsaid = (check: (value: unknown) => unknown) => (value: unknown) => {
    check(value);
    return [];
  };
  return {
    connectTimeoutMs: time("proxy_connect_timeout", 1),
    readTimeoutMs: time("proxy_read_timeout", 1),
    sendTimeoutMs: time("proxy_send_timeout", 1),
    nextTimeoutMs: time("proxy_next_upstream_timeout", 0),
    maxBodyBytes: count("client_max_body_size", 0, 2 ** 40),
    bodyBufferBytes: count("client_body_buffer_size", 1024, 2 ** 24),
    bufferBytes: count("proxy_buffer_size", 1024, 2 ** 20),
    requestBuffering: flag("proxy_request_buffering"),
    responseBuffering: flag("proxy_buffering"),
    buffers: unsaid((value) => rules.number(value, 2, 64)),
    // Said together, below.
    ...Object.fromEntries(
      Object.keys(TEXTS).map((name) => [name, unsaid((value) => rules.text(name, value))]),
    ),
    tlsServerName: unsaid(rules.flag),
    tlsVerify: unsaid(rules.flag),
    tlsDepth: unsaid((value) => rules === typed || rules.number(value, 1, 9)),
    nextTries: unsaid((value) => rules === typed || rules.number(value, 0, 32)),
    httpVersion: (value) => [["proxy_http_version", rules.version(value)]],
    errorCodes: (value) => {
      const codes = codesOf(value);
      if (codes.length === 0) return [];
      return [
        ["proxy_intercept_errors", "on"],
        ...codes.map((code) => ["error_page", String(code), "=", `@error_${code}`]),
      ];
    },
    nextUpstream: (value) => {
      const words = (typeof value === "string" ? value : "").split(" ");
      const wrong = words.find((word) => !rules.failure(word));
      if (wrong === undefined) return [["proxy_next_upstream", ...words]];
      throw new UnexpectedError(`${JSON.stringify(wrong)} is no failure`);
    },
  };
}

const rulesOf = { judged, typed };
const byRules = { judged: statements(judged), typed: statements(typed) };

function buffers({ buffers: n, bufferBytes }: Settings): Lines {
  const [number, size] = [Number(n), Number(bufferBytes)];
  return [
    ["proxy_buffers", String(number), String(size)],
    ["proxy_busy_buffers_size", String(Math.min(2, number - 1) * size)],
  ];
}

/** Settings of which each value stands for lines of the emitter's own, in which no value of a setting is. */
const WORDS: Readonly<Record<string, readonly unknown[]>> = {
  clientFacts: ["none", "names", "whole"],
  protocol: ["http", "https", "grpc", "grpcs"],
};

/** Which of the emitter's own lines a profile asks for: its flags, and words of closed lists. @throws UnexpectedError */
export function flagsOf(settings: Settings, unsaid: Settings, by: keyof typeof byRules): Settings {
  const flags: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(settings)) {
    const words = Object.hasOwn(WORDS, name) ? WORDS[name] : undefined;
    if (words !== undefined) {
      if (!words.includes(value))
        throw new UnexpectedError(`${JSON.stringify(value)} is none of ${words.join(", ")}`);
      flags[name] = value;
    } else if (typeof unsaid[name] === "boolean" && !Object.hasOwn(byRules[by], name)) {
      flags[name] = (by === "judged" ? judged : typed).flag(value);
    }
  }
  return flags;
}

/** gRPC inherits nothing that is said for all, and knows six of them under names of its own. */
function asGrpc(line: readonly string[], differs: boolean): Lines {
  const [name = "", ...values] = line;
  if (name.startsWith("client_")) return differs ? [line] : [];
  const known = /^proxy_((connect|read|send)_timeout|next_upstream(_timeout)?|buffer_size)$/.test(name);
  return known ? [[name.replace("proxy_", "grpc_"), ...values]] : [];
}

/** @throws UnexpectedError */
function tlsLines(settings: Settings, prefix: string, rules: Rules): Lines {
  const text = (name: string) => rules.text(name, settings[name]);
  const named = text("tlsName") !== "";
  const client = text("tlsClient");
  const lines: (readonly string[])[] = [
    [`${prefix}_protocols`, ...text("tlsProtocols").split(" ")],
    [`${prefix}_ciphers`, text("tlsCiphers")],
    [`${prefix}_session_reuse`, "off"],
    [`${prefix}_server_name`, named && settings["tlsServerName"] ? "on" : "off"],
  ];
  if (named) lines.push([`${prefix}_name`, text("tlsName")]);
  if (settings["tlsVerify"]) {
    lines.push(
      [`${prefix}_verify`, "on"],
      [`${prefix}_verify_depth`, String(rules.number(settings["tlsDepth"], 1, 9))],
      [`${prefix}_trusted_certificate`, AUTHORITIES],
    );
  }
  if (client === "") return lines;
  return [
    ...lines,
    ["set", "$sluice_client", client],
    ["set_by_lua_block", "$sluice_client_chain", "lua: return sluice.client_chain()"],
    ["set_by_lua_block", "$sluice_client_key", "lua: return sluice.client_key()"],
    [`${prefix}_certificate`, "$sluice_client_chain"],
    [`${prefix}_certificate_key`, "$sluice_client_key"],
  ];
}

/** Stands for the path of a file of authorities, wherever it lies. */
export const AUTHORITIES = "authorities.pem";

/** By what connections to peers must be told apart. */
export function identityOf(settings: Settings): string {
  const {
    protocol,
    tlsName,
    tlsServerName,
    tlsVerify,
    tlsDepth,
    tlsAuthorities,
    tlsClient,
    tlsProtocols,
    tlsCiphers,
  } = settings;
  if (protocol === "http" || protocol === "grpc") return String(protocol);
  const proof = tlsVerify ? [tlsDepth, tlsAuthorities] : [];
  return JSON.stringify([protocol, tlsName, tlsServerName, proof, tlsClient, tlsProtocols, tlsCiphers]);
}

/** What values of settings, as a whole, must say where they differ from what holds when nothing is said. @throws UnexpectedError */
export function expectedLines(settings: Settings, unsaid: Settings, by: keyof typeof byRules): Lines {
  const said = byRules[by];
  const flags = flagsOf(settings, unsaid, by);
  const lines: (readonly string[])[] = [];
  const grpc = settings["protocol"] === "grpc" || settings["protocol"] === "grpcs";
  for (const [name, value] of Object.entries(settings)) {
    if (Object.hasOwn(flags, name)) continue;
    const of = said[name];
    if (of === undefined) {
      throw new UnexpectedError(
        `what setting ${name} says in nginx.conf is stated nowhere: state it in tests/fuzz/expected-locations.ts`,
      );
    }
    const own = of(value);
    // A page is no answer to who speaks gRPC.
    if (grpc && name === "errorCodes") continue;
    if (grpc) lines.push(...own.flatMap((line) => asGrpc(line, value !== unsaid[name])));
    else if (value !== unsaid[name]) lines.push(...own);
  }
  if (settings["protocol"] === "https" || settings["protocol"] === "grpcs") {
    lines.push(...tlsLines(settings, grpc ? "grpc_ssl" : "proxy_ssl", rulesOf[by]));
  }
  if (grpc) return lines;
  if (settings["buffers"] !== unsaid["buffers"] || settings["bufferBytes"] !== unsaid["bufferBytes"]) {
    lines.push(...buffers(settings));
  }
  return lines;
}

/** What stands in a location, one list of words a directive. @throws UnexpectedError */
export function linesOf(location: ConfNode): Lines {
  return (location.block ?? []).map((node) => {
    if (node.block !== null)
      throw new UnexpectedError(`${node.name} opens a block in ${location.args.join(" ")}`);
    return [node.name, ...node.args, ...(node.lua === undefined ? [] : [`lua: ${node.lua}`])];
  });
}
