import { isIP } from "node:net";

// Configuration text from typed values, and from nothing else: whatever is not a word of ours is quoted or refused.

const brand: unique symbol = Symbol("nginx value");

/** One argument of a directive, already as safe text. Made by the functions below only. */
export interface Value {
  readonly [brand]: true;
  readonly text: string;
}

export type Directive =
  | { readonly name: string; readonly args: readonly Value[]; readonly block?: readonly Directive[] }
  | { readonly name: string; readonly lua: string }
  | { readonly comment: string };

const made = (text: string): Value => ({ [brand]: true, text });

/** A literal of this source: nginx variables and all. The tag keeps computed text out. */
export function word(literal: TemplateStringsArray, ...none: never[]): Value {
  if (none.length > 0) throw new TypeError("word`` takes a literal only");
  return made(literal[0] ?? "");
}

/** Bytes; nginx reads words that fit, with all their backslashes, into a buffer of 4,096. */
const MAX_TEXT = 2000;

/** Text from outside, e.g. a path: quoted. `$` would be a variable, and nginx cannot escape it. */
export function quoted(text: string): Value {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: refusing them is the point
  if (/[\x00-\x1f\x7f$]/.test(text))
    throw new RangeError(`${JSON.stringify(text)} cannot stand in nginx.conf`);
  if (Buffer.byteLength(text) > MAX_TEXT)
    throw new RangeError(`a text of ${text.length} characters is too long`);
  return made(`"${text.replaceAll("\\", "\\\\").replaceAll('"', '\\"')}"`);
}

export function number(value: number): Value {
  // A larger one would be written as 1e+21.
  if (!Number.isSafeInteger(value) || value < 0)
    throw new RangeError(`${value} cannot stand in nginx.conf: not a whole number`);
  return made(String(value));
}

export const milliseconds = (value: number): Value => made(`${number(value).text}ms`);
export const wholeSeconds = (value: number): Value => made(`${number(value).text}s`);
export const megabytes = (value: number): Value => made(`${number(value).text}m`);
export const onOff = (value: boolean): Value => made(value ? "on" : "off");

/** Words of a directive that takes words, e.g. `error timeout`; from a list of ours, checked once more. */
export function keywords(text: string): readonly Value[] {
  if (text.length > MAX_TEXT || !/^[a-z0-9_.]+( [a-z0-9_.]+)*$/.test(text))
    throw new RangeError(`${JSON.stringify(text)} holds no words`);
  return text.split(" ").map(made);
}

/** `127.0.0.1:31590`, `[::1]:31590` or `*:80`. */
export function listenAddress(text: string): Value {
  const match = /^(\*|[0-9.]{7,15}|\[[0-9A-Fa-f:.]{2,45}\]):([0-9]{1,5})$/.exec(text);
  if (match === null || Number(match[2]) < 1 || Number(match[2]) > 65535) {
    throw new RangeError(`${JSON.stringify(text)} is no address to listen on, such as 127.0.0.1:31590`);
  }
  return made(text);
}

/** Header of a request or an answer. */
export function headerName(text: string): Value {
  if (!/^[A-Za-z][A-Za-z0-9-]{0,127}$/.test(text))
    throw new RangeError(`${JSON.stringify(text)} is no name of a header`);
  return made(text);
}

/** `10.0.0.0/8`, `2001:db8::/32`, or an address alone. */
export function cidr(text: string): Value {
  const [, address = "", length] = /^([0-9A-Fa-f:.]{2,45})(?:\/([0-9]{1,3}))?$/.exec(text) ?? [];
  const family = isIP(address);
  if (family === 0 || Number(length ?? 0) > (family === 4 ? 32 : 128))
    throw new RangeError(`${JSON.stringify(text)} is no CIDR, such as 10.0.0.0/8`);
  return made(text);
}

/** What a `log_format` with escape=json writes: one JSON object a line. nginx escapes what a text holds. */
export function jsonLine(
  fields: readonly (readonly [name: string, variable: Value, kind: "text" | "number", ...more: unknown[]])[],
): Value {
  const parts = fields.map(([name, { text }, kind]) => {
    if (!/^[a-z_]+$/.test(name) || !/^\$[a-z_0-9]+$/.test(text))
      throw new RangeError(`${name}: ${text} cannot stand in a log's format`);
    return kind === "number" ? `"${name}":${text}` : `"${name}":"${text}"`;
  });
  return made(`'{${parts.join(",")}}'`);
}

export function unixSocket(path: string): Value {
  // sun_path holds 108 bytes; nginx cuts a longer one silently.
  if (Buffer.byteLength(path) > 107) throw new RangeError(`${path} is too long for a unix socket`);
  return made(quoted(`unix:${path}`).text);
}

/** An upstream block beside the one of plain HTTP: its protocol, and a hash of what its connections must share. */
export function upstreamName(identity: string): Value {
  if (!/^(?:grpc|(?:https|grpcs)_[0-9a-f]{16})$/.test(identity)) {
    throw new RangeError(`${JSON.stringify(identity)} is no identity of connections`);
  }
  return made(`sluice_${identity}`);
}

/** `proxy_pass` or `grpc_pass` to an upstream block. */
export function passTo(
  scheme: "https://" | "grpc://" | "grpcs://",
  upstream: Value,
  uri: "" | "$sluice_uri" = "",
): Value {
  return made(`${scheme}${upstream.text}${uri}`);
}

/** Words of a list that nginx knows by such names as TLSv1.2. */
export function tlsVersions(text: string): readonly Value[] {
  if (!/^TLSv1(\.[123])?( TLSv1(\.[123])?)*$/.test(text)) {
    throw new RangeError(`${JSON.stringify(text)} holds no versions of TLS`);
  }
  return text.split(" ").map(made);
}

/** OpenSSL's names of suites or groups, with what is left out of them. */
export function opensslNames(text: string): Value {
  if (text.length > MAX_TEXT || !/^!?[A-Za-z0-9-]+(:!?[A-Za-z0-9-]+)*$/.test(text)) {
    throw new RangeError(`${JSON.stringify(text)} is no list of OpenSSL's`);
  }
  return made(text);
}

/** `shared:<name>:<bytes>` of a cache of TLS sessions. */
export const sharedSessions = (bytes: number): Value => made(`shared:sluice_sessions:${number(bytes).text}`);

/** The name of a profile's location. */
export function locationName(prefix: "@profile_", hash: string): Value {
  if (!/^[0-9a-z]{1,64}$/.test(hash)) throw new RangeError(`${JSON.stringify(hash)} is no profile hash`);
  return made(`${prefix}${hash}`);
}

/** The name of the location that answers a status. */
export function errorLocation(code: number): Value {
  if (!Number.isInteger(code) || code < 400 || code > 599)
    throw new RangeError(`${code} is no status of an error`);
  return made(`@error_${code}`);
}

export function directive(
  name: string,
  args: readonly Value[] = [],
  block?: readonly Directive[],
): Directive {
  return block === undefined ? { name, args } : { name, args, block };
}

/** A `*_by_lua_block` of a literal; what it is given from outside becomes a quoted Lua string, or is refused. */
export function lua(name: string): (code: TemplateStringsArray, ...texts: readonly string[]) => Directive {
  return (code, ...texts) => ({
    name,
    lua: code.reduce((before, part, i) => `${before}${luaString(texts[i - 1] ?? "")}${part}`),
  });
}

/** `set_by_lua_block $variable { … }` of a literal. */
export function luaSet(variable: Value): (code: TemplateStringsArray) => Directive {
  return (code) => ({ name: `set_by_lua_block ${variable.text}`, lua: code[0] ?? "" });
}

function luaString(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: refusing them is the point
  if (/[\x00-\x1f\x7f"\\{}]/.test(text))
    throw new RangeError(`${JSON.stringify(text)} cannot stand in nginx.conf`);
  return `"${text}"`;
}

function lines(directives: readonly Directive[], indent: string, out: string[]): void {
  for (const each of directives) {
    if ("comment" in each) {
      out.push(`${indent}# ${each.comment}`);
      continue;
    }
    if ("lua" in each) {
      out.push(`${indent}${each.name} { ${each.lua} }`);
      continue;
    }
    const head = [each.name, ...each.args.map((arg) => arg.text)].join(" ");
    if (each.block === undefined) out.push(`${indent}${head};`);
    else {
      out.push(`${indent}${head} {`);
      lines(each.block, `${indent}  `, out);
      out.push(`${indent}}`);
    }
  }
}

export function render(directives: readonly Directive[]): string {
  const out: string[] = [];
  lines(directives, "", out);
  return `${out.join("\n")}\n`;
}
