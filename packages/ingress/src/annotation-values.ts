// How the text of an annotation becomes a value: what is not of the shape is refused, never mended.
import type { HashPart } from "@sluice/contracts";
import { checkHost } from "./host.ts";

export type ValueReading<T> =
  | { readonly ok: true; readonly value: T }
  | { readonly ok: false; readonly why: string };

export interface ValueReader<T> {
  /** What may be written, for messages and for the reference, e.g. `seconds, 1 to 86400`. */
  readonly shape: string;
  read(text: string): ValueReading<T>;
}

const read = <T>(value: T): ValueReading<T> => ({ ok: true, value });

export function reader<T>(shape: string, of: (text: string) => T | null): ValueReader<T> {
  return {
    shape,
    read: (text) => {
      const value = of(text.trim());
      return value === null ? { ok: false, why: `is not ${shape}` } : read(value);
    },
  };
}

function within(value: number, [min, max]: readonly [number, number]): number | null {
  return Number.isSafeInteger(value) && value >= min && value <= max ? value : null;
}

export function wholeNumber(bounds: readonly [number, number]): ValueReader<number> {
  return reader(`a whole number, ${bounds[0]} to ${bounds[1]}`, (text) =>
    /^[0-9]{1,15}$/.test(text) ? within(Number(text), bounds) : null,
  );
}

/** As ingress-nginx writes times: a number of seconds, without a unit. @returns milliseconds */
export function seconds(boundsMs: readonly [number, number]): ValueReader<number> {
  const [min, max] = [Math.ceil(boundsMs[0] / 1000), Math.floor(boundsMs[1] / 1000)];
  return reader(`a whole number of seconds without a unit, ${min} to ${max}`, (text) =>
    /^[0-9]{1,9}$/.test(text) ? within(Number(text) * 1000, [min * 1000, max * 1000]) : null,
  );
}

const UNITS: Readonly<Record<string, number>> = { "": 1, b: 1, k: 2 ** 10, m: 2 ** 20, g: 2 ** 30 };

/** As nginx writes sizes. @returns bytes */
export function size(bounds: readonly [number, number]): ValueReader<number> {
  const shape = `a size such as 8k, 10m or 1g, ${bytes(bounds[0])} to ${bytes(bounds[1])}`;
  return reader(shape, (text) => {
    const match = /^([0-9]{1,12})([bkmg]?)$/i.exec(text);
    if (match === null) return null;
    return within(Number(match[1]) * (UNITS[(match[2] ?? "").toLowerCase()] ?? Number.NaN), bounds);
  });
}

function bytes(value: number): string {
  const [unit, factor] = Object.entries(UNITS).findLast(([, f]) => value >= f && value % f === 0) ?? ["", 1];
  return `${value / factor}${unit}`;
}

export const onOff: ValueReader<boolean> = reader("on or off", (text) =>
  text === "on" ? true : text === "off" ? false : null,
);

/** As Go reads it, in which ingress-nginx is written. */
export const trueFalse: ValueReader<boolean> = reader("true or false", (text) => {
  if (/^(1|t|T|TRUE|true|True)$/.test(text)) return true;
  return /^(0|f|F|FALSE|false|False)$/.test(text) ? false : null;
});

export function oneOf<T extends string>(...values: readonly T[]): ValueReader<T> {
  return reader(`one of ${values.join(", ")}`, (text) => values.find((value) => value === text) ?? null);
}

export function oneOfAnyCase<T extends string>(...values: readonly T[]): ValueReader<T> {
  return reader(
    `one of ${values.join(", ")}, in any case`,
    (text) => values.find((value) => value.toLowerCase() === text.toLowerCase()) ?? null,
  );
}

/** Words of a list, in any order. @returns them sorted, each once, with a blank between */
export function words(allowed: readonly string[]): ValueReader<string> {
  return reader(`words of ${allowed.join(", ")}`, (text) => {
    const given = [...new Set(text.split(/\s+/))].sort();
    return given.length > 0 && given.every((each) => allowed.includes(each)) ? given.join(" ") : null;
  });
}

/** Printable ASCII without a blank, and no `$`: in ingress-nginx's configuration it would begin a variable. */
const PLAIN = /^[\x21-\x23\x25-\x7e]{1,2048}$/;

export const webUrl: ValueReader<string> = reader(
  "an absolute http or https URL of printable ASCII without $",
  (text) => {
    if (!PLAIN.test(text) || !/^https?:\/\//i.test(text) || !URL.canParse(text)) return null;
    return text.replace(/^https?/i, (scheme) => scheme.toLowerCase());
  },
);

/** `//host` would be another host. */
export const hostPath: ValueReader<string> = reader(
  "a path that begins with one /, of printable ASCII without $",
  (text) => (PLAIN.test(text) && /^\/(?![/\\])/.test(text) ? text : null),
);

/** Printable ASCII in which `$` begins one of the groups `$1` to `$9`. */
const WITH_GROUPS = /^(?:[\x21-\x23\x25-\x7e]|\$[1-9])+$/;
const MAX_TEXT = 2048;

export const rewriteTarget: ValueReader<string> = reader(
  "a path, or an absolute http or https URL, of printable ASCII, in which $1 to $9 stand for groups of the path",
  (text) => {
    if (text.length > MAX_TEXT || !WITH_GROUPS.test(text)) return null;
    if (/^(?:\/|\$[1-9])/.test(text)) return text;
    // Which host a client is sent to is never for the request to say.
    const origin = /^https?:\/\/[0-9A-Za-z.:[\]-]+(?=\/|\?|$)/i.exec(text)?.[0];
    return origin !== undefined && URL.canParse(origin)
      ? text.replace(/^https?/i, (scheme) => scheme.toLowerCase())
      : null;
  },
);

export const forwardedPrefix: ValueReader<string> = reader(
  "printable ASCII, in which $1 to $9 stand for groups of the path",
  (text) => (text.length <= MAX_TEXT && WITH_GROUPS.test(text) ? text : null),
);

const MAX_ALIASES = 32;

export const hostNames: ValueReader<readonly string[]> = reader(
  `up to ${MAX_ALIASES} DNS names with commas between; *.example.test is one label more`,
  (text) => {
    const names = text.split(",").map((name) => checkHost(name.trim()));
    const hosts = names.flatMap((name) => (name.ok && name.host !== "" ? [name.host] : []));
    return hosts.length < names.length || hosts.length > MAX_ALIASES ? null : [...new Set(hosts)];
  },
);

export const serviceName: ValueReader<string> = reader("the name of a ServiceImport", (text) =>
  /^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$/.test(text) ? text : null,
);

export function isAuthority(text: string): boolean {
  const [, host = "", port] = /^([^:]*|\[.*\])(?::([0-9]{1,5}))?$/.exec(text) ?? [];
  const named = /^[0-9A-Za-z]([0-9A-Za-z._-]{0,251}[0-9A-Za-z])?$/.test(host);
  const isAddress = /^\[[0-9A-Fa-f:.]{2,45}\]$/.test(host) && URL.canParse(`http://${host}`);
  return (named || isAddress) && (port === undefined || within(Number(port), [1, 65_535]) !== null);
}

const VARIABLE = /\$(?:(service_name|namespace)(?![0-9A-Za-z_])|\{(service_name|namespace)\})/g;

/** The Host of a path. @returns null: with these names it is none */
export function filledHost(
  template: string,
  names: { service_name: string; namespace: string },
): string | null {
  const host = template.replace(
    VARIABLE,
    (_, plain, braced) => names[(plain ?? braced) as keyof typeof names],
  );
  return isAuthority(host) ? host : null;
}

export const hostTemplate: ValueReader<string> = reader(
  "a host name or an IP address, with or without a port; $service_name and $namespace are those of the backend",
  (text) => (filledHost(text, { service_name: "web", namespace: "shop" }) === null ? null : text),
);

const VARIABLES: ReadonlySet<string> = new Set([
  "args",
  "binary_remote_addr",
  "host",
  "https",
  "query_string",
  "remote_addr",
  "remote_user",
  "request_method",
  "request_uri",
  "scheme",
  "server_port",
  "uri",
]);
const MAX_PARTS = 32;

function hashPart(token: string): HashPart | null {
  if (!token.startsWith("$")) return { text: token };
  const variable = token.replace(/^\$\{?|\}$/g, "").toLowerCase();
  const known = VARIABLES.has(variable) || /^(http|arg|cookie)_[a-z0-9_]{1,100}$/.test(variable);
  return known ? { variable } : null;
}

/** Names of a closed set beside text: nothing of it is evaluated. */
export const hashKey: ValueReader<readonly HashPart[]> = reader(
  `printable ASCII with at least one of ${[...VARIABLES].map((name) => `$${name}`).join(", ")}, ` +
    "$http_NAME, $arg_NAME and $cookie_NAME in it, in braces or not",
  (text) => {
    if (text.length > 1024 || !/^[\x20-\x7e]+$/.test(text)) return null;
    const tokens = text.match(/\$\{\w+\}|\$\w+|[^$]+|\$/g) ?? [];
    const parts = tokens.map(hashPart).filter((part) => part !== null);
    if (parts.length < tokens.length || parts.length > MAX_PARTS) return null;
    return parts.some((part) => "variable" in part) ? parts : null;
  },
);

export const cookieName: ValueReader<string> = reader("letters, digits, _, . and -, up to 128", (text) =>
  /^[A-Za-z0-9_.-]{1,128}$/.test(text) ? text : null,
);

export const cookiePath: ValueReader<string> = reader(
  "a path that begins with /, of printable ASCII without ; and $",
  (text) => (PLAIN.test(text) && /^\/[^;]*$/.test(text) ? text : null),
);

export const cookieDomain: ValueReader<string> = reader(
  "a DNS name, with or without a leading dot",
  (text) => (text.length <= 254 && /^\.?[A-Za-z0-9-]{1,63}(\.[A-Za-z0-9-]{1,63})*$/.test(text) ? text : null),
);
