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
}

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
};

const typed: Rules = {
  number: (value) => whole(value, 0, Number.MAX_SAFE_INTEGER),
  flag: Boolean,
  version: (value) => (value === "1.0" ? "1.0" : "1.1"),
  failure: (word) => /^[a-z0-9_.]+$/.test(word),
};

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
    nextTries: unsaid((value) => rules === typed || rules.number(value, 0, 32)),
    httpVersion: (value) => [["proxy_http_version", rules.version(value)]],
    nextUpstream: (value) => {
      const words = String(value).split(" ");
      const wrong = words.find((word) => !rules.failure(word));
      if (wrong === undefined) return [["proxy_next_upstream", ...words]];
      throw new UnexpectedError(`${JSON.stringify(wrong)} is no failure`);
    },
  };
}

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

/** What values of settings, as a whole, must say where they differ from what holds when nothing is said. @throws UnexpectedError */
export function expectedLines(settings: Settings, unsaid: Settings, by: keyof typeof byRules): Lines {
  const said = byRules[by];
  const flags = flagsOf(settings, unsaid, by);
  const lines: (readonly string[])[] = [];
  for (const [name, value] of Object.entries(settings)) {
    if (Object.hasOwn(flags, name)) continue;
    const of = said[name];
    if (of === undefined) {
      throw new UnexpectedError(
        `what setting ${name} says in nginx.conf is stated nowhere: state it in tests/fuzz/expected-locations.ts`,
      );
    }
    const own = of(value);
    if (value !== unsaid[name]) lines.push(...own);
  }
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
