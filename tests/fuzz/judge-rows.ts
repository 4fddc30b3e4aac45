// What nginx's rows must be whatever was asked for, stated apart from the code that makes them and from rows.lua.
import { BlockList, isIPv4 } from "node:net";
import { UnexpectedError } from "./expected-locations.ts";

const own = new BlockList();
own.addSubnet("127.66.0.0", 16, "ipv4");

/** Contents of Secrets have lines; nothing else that nginx gets has. */
const LINES = new Set(["chain", "key", "authorities"]);

/** Part of what requests are hashed by: it goes nowhere. */
const HASHED = /\.by\.[0-9]+\.text$/;

/** Becomes a header, or is compared with what came over the wire: a control character would end the one, and is none of the other. */
function judgeTexts(value: unknown, at: string): void {
  if (typeof value === "string") {
    // nginx's JSON reader refuses a whole batch for half a character.
    if (!value.isWellFormed()) throw new UnexpectedError(`${at} is no Unicode`);
    // biome-ignore lint/suspicious/noControlCharactersInRegex: finding them is the point
    if (/[\x00-\x1f\x7f]/.test(value) && !HASHED.test(at) && !LINES.has(at.slice(at.lastIndexOf(".") + 1))) {
      throw new UnexpectedError(`${at} holds a control character: ${JSON.stringify(value.slice(0, 80))}`);
    }
  } else if (typeof value === "object" && value !== null) {
    for (const [key, each] of Object.entries(value)) {
      judgeTexts(key, `a key of ${at}`);
      judgeTexts(each, `${at}.${key}`);
    }
  }
}

const PRINTABLE = /^[\x21-\x7e]{1,2048}$/;

type Part = { readonly text: unknown } | { readonly variable: unknown };

interface More {
  readonly redirect?: readonly [code: unknown, to: unknown];
  readonly rewrite?: unknown;
  readonly vhost?: unknown;
  readonly forwardedPrefix?: unknown;
  readonly mirror?: {
    readonly host: unknown;
    readonly port: unknown;
    readonly target: readonly Part[];
    readonly hostHeader: readonly Part[];
  };
}

/** Whom a proxy sends requests to that an object names: no text of a request's may say who that is. */
function judgeMirror(
  { host, port, target, hostHeader }: NonNullable<More["mirror"]>,
  must: (right: boolean, what: string) => void,
): void {
  must(typeof host === "string" && /^[0-9a-z._:-]{1,253}$/.test(host), "copies to no host");
  must(Number.isInteger(port) && Number(port) >= 1 && Number(port) <= 65_535, "copies to no port");
  for (const part of [...target, ...hostHeader]) {
    const text = "text" in part ? part.text : part.variable;
    must(typeof text === "string" && /^[\x21-\x7e]*$/.test(text), "makes no line of a copy");
  }
}

function judgePath(path: readonly unknown[], at: string): void {
  const [type, text, upstream, profile] = path;
  const more = (path[4] ?? {}) as More;
  const must = (right: boolean, what: string) => {
    if (!right) throw new UnexpectedError(`${at} ${what}: ${JSON.stringify(path).slice(0, 200)}`);
  };
  must(type === "E" || type === "P" || type === "R", "is of no type");
  must(typeof text === "string" && text.startsWith("/"), "is no path");
  must(typeof upstream === "string" && /^[0-9a-z-]{0,128}$/.test(upstream), "leads to no upstream");
  must(typeof profile === "string" && /^[0-9a-z]{1,64}$/.test(profile), "has no profile");
  if (more.redirect !== undefined) {
    const [code, to] = more.redirect;
    must(Number.isInteger(code) && Number(code) >= 300 && Number(code) <= 308, "has no code of a redirect");
    must(typeof to === "string" && PRINTABLE.test(to), "redirects to no URL");
    must(/^(https?:\/\/|\/(?!\/))/.test(String(to)), "redirects to another scheme, or to a host by //");
  }
  for (const text of [more.rewrite, more.forwardedPrefix]) {
    if (text !== undefined)
      must(typeof text === "string" && PRINTABLE.test(text), "makes no header of its text");
  }
  if (more.mirror !== undefined) judgeMirror(more.mirror, must);
  if (more.vhost !== undefined) must(/^[\w.:[\]-]{1,259}$/.test(String(more.vhost)), "has no Host");
}

function judgePeer(peer: unknown, at: string): void {
  const [address, port] = peer as readonly unknown[];
  if (typeof address !== "string" || !isIPv4(address) || !own.check(address, "ipv4")) {
    throw new UnexpectedError(`${at}: ${JSON.stringify(address)} is no address that its cluster may have`);
  }
  if (!Number.isInteger(port) || Number(port) < 1 || Number(port) > 65_535) {
    throw new UnexpectedError(`${at}: ${JSON.stringify(port)} is no port`);
  }
}

/** @throws UnexpectedError */
export function judgeRow(row: { readonly k: string }): void {
  judgeTexts(row, row.k);
  if ("paths" in row)
    for (const [i, path] of (row.paths as unknown[][]).entries()) judgePath(path, `path ${i}`);
  if ("peers" in row)
    for (const [i, peer] of (row.peers as unknown[]).entries()) judgePeer(peer, `peer ${i}`);
}
