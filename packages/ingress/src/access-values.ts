// How texts that say who may come in become values.
import { type HashPart, parseCidr } from "@sluice/contracts";
import { isAuthority, reader, type ValueReader } from "./annotation-values.ts";

/** As many as a row can hold. */
export const MAX_RANGES = 10_000;

function rangeOf(text: string): string | null {
  const range = text.includes("/") ? text : `${text}/${text.includes(":") ? 128 : 32}`;
  return parseCidr(range) === null ? null : range;
}

/** One that cannot be read spoils the list: without it an allowed one would be shut out, or a denied one let in. */
export const ranges: ValueReader<readonly string[]> = reader(
  `up to ${MAX_RANGES} CIDRs or IP addresses with commas between`,
  (text) => {
    const given = text.split(",").map((part) => part.trim());
    const found = given.map(rangeOf).filter((range) => range !== null);
    return found.length < given.length || found.length > MAX_RANGES ? null : [...new Set(found)];
  },
);

/** What it names is read where the object's namespace is known. */
export const secretName: ValueReader<string> = reader(
  "the name of a Secret of the object's namespace",
  (text) => (/^[-a-z0-9.]{1,253}(\/[-a-z0-9.]{1,253})?$/.test(text) ? text : null),
);

export const realm: ValueReader<string> = reader('printable ASCII without " and \\, up to 256', (text) =>
  /^[\x20\x21\x23-\x5b\x5d-\x7e]{1,256}$/.test(text) ? text : null,
);

export const headerName: ValueReader<string> = reader("letters, digits, - and _, up to 128", (text) =>
  /^[A-Za-z0-9_-]{1,128}$/.test(text) ? text : null,
);

const MAX_HEADERS = 64;
/** They say where a request goes and where it ends: whoever could set Host would be served what is another's. */
const FRAMING: ReadonlySet<string> = new Set([
  "connection",
  "content-length",
  "expect",
  "host",
  "http2-settings",
  "keep-alive",
  "proxy",
  "proxy-connection",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade",
]);

export const headerNames: ValueReader<readonly string[]> = reader(
  `up to ${MAX_HEADERS} names of headers with commas between, none of those that frame a request, such as Host`,
  (text) => {
    const names = text.split(",").flatMap((part) => (part.trim() === "" ? [] : [part.trim()]));
    const fits = (name: string) => headerName.read(name).ok && !FRAMING.has(name.toLowerCase());
    return names.length <= MAX_HEADERS && names.every(fits) ? [...new Set(names)] : null;
  },
);

/** As ingress-nginx has them; those of the object are filled in before anything goes to a proxy. */
const OF_REQUEST: Readonly<Record<string, string>> = {
  args: "args",
  best_http_host: "http_host",
  escaped_request_uri: "escaped_request_uri",
  host: "host",
  http_host: "http_host",
  pass_access_scheme: "scheme",
  query_string: "args",
  remote_addr: "remote_addr",
  request_method: "request_method",
  request_uri: "request_uri",
  scheme: "scheme",
};
const OF_OBJECT = ["ingress_name", "namespace", "service_name"] as const;
export type OfObject = Readonly<Record<(typeof OF_OBJECT)[number], string>>;

type Part = HashPart | { readonly ofObject: (typeof OF_OBJECT)[number] };
export type TextTemplate = readonly Part[];

const MAX_TEXT = 1024;
const MAX_PARTS = 60;
/** For people. */
export const templateVariables = Object.keys(OF_REQUEST)
  .concat(OF_OBJECT)
  .sort()
  .map((name) => `$${name}`)
  .join(", ");

function partOf(token: string): Part | null {
  if (!token.startsWith("$")) return { text: token };
  const name = token.replace(/^\$\{?|\}$/g, "");
  const ofObject = OF_OBJECT.find((each) => each === name);
  if (ofObject !== undefined) return { ofObject };
  const variable = Object.hasOwn(OF_REQUEST, name) ? OF_REQUEST[name] : undefined;
  return variable === undefined ? null : { variable };
}

function templateOf(text: string): TextTemplate | null {
  if (text.length > MAX_TEXT || !/^[\x21-\x7e]*$/.test(text)) return null;
  const tokens = text.match(/\$\{\w+\}|\$\w+|[^$]+|\$/g) ?? [];
  const parts = tokens.map(partOf).filter((part) => part !== null);
  return parts.length < tokens.length || parts.length > MAX_PARTS ? null : parts;
}

export function filled(template: TextTemplate, names: OfObject): HashPart[] {
  return template.map((part) => ("ofObject" in part ? { text: names[part.ofObject] } : part));
}

export const textTemplate: ValueReader<TextTemplate> = reader("printable ASCII without blanks", templateOf);

export interface ServiceUrl {
  readonly secure: boolean;
  /** null: the host of the rule. */
  readonly host: string | null;
  readonly port: number;
  /** Path and query. */
  readonly target: TextTemplate;
}

const HOST_OF_RULE = /^\$(?:\{(?:host|http_host|best_http_host)\}|(?:host|http_host|best_http_host))$/;

function isHost(text: string): boolean {
  if (text.startsWith("[")) return parseCidr(`${text.slice(1, -1)}/128`) !== null && text.endsWith("]");
  if (/^[0-9.]+$/.test(text)) return parseCidr(`${text}/32`) !== null;
  return text.length <= 253 && /^[a-z0-9]([-a-z0-9_]{0,62}\.?)*$/.test(text) && !text.includes("..");
}

/** Path and query where a URL says none: as they came. */
const AS_IT_CAME = "$request_uri";

/** @param unsaid path and query where the URL has none */
function serviceUrlOf(text: string, unsaid: string): ServiceUrl | null {
  const match =
    /^(https?):\/\/(\$\{?\w+\}?|\[[0-9A-Fa-f:.]+\]|[0-9A-Za-z._-]+)(?::([0-9]{1,5}))?([/?].*|\$(?:request_uri|\{request_uri\}))?$/.exec(
      text,
    );
  if (match === null) return null;
  const [, scheme, authority = "", port, rest = unsaid] = match;
  const secure = scheme === "https";
  const host = HOST_OF_RULE.test(authority) ? null : authority.toLowerCase();
  const number = port === undefined ? (secure ? 443 : 80) : Number(port);
  const target = templateOf(rest.startsWith("?") ? `/${rest}` : rest);
  if (target === null || rest.includes("#") || number < 1 || number > 65_535) return null;
  if (host !== null && !isHost(host)) return null;
  return { secure, host: host === null ? null : host.replace(/^\[|\]$/g, ""), port: number, target };
}

/** Who is asked may not be for a request to say: of all variables the host of the rule alone may stand there. */
export const serviceUrl: ValueReader<ServiceUrl> = reader(
  "an absolute http or https URL of printable ASCII, whose host is a name, an IP address or $host",
  (text) => serviceUrlOf(text, "/"),
);

/** The host that was asked for cannot be who gets a copy: the copy would come back. */
export const mirrorUrl: ValueReader<ServiceUrl & { readonly host: string }> = reader(
  "an absolute http or https URL of printable ASCII, whose host is a name or an IP address",
  (text) => {
    const url = serviceUrlOf(text, AS_IT_CAME);
    return url === null || url.host === null ? null : { ...url, host: url.host };
  },
);

export const mirrorHost: ValueReader<HashPart> = reader(
  "a host name or an IP address, with or without a port, or $host",
  (text) => {
    if (/^\$(?:host|\{host\})$/.test(text)) return { variable: "host" };
    return isAuthority(text) ? { text } : null;
  },
);

/** What a client that is not signed in is sent to. */
export const signinUrl: ValueReader<string> = reader(
  "an absolute http or https URL, or a path, of printable ASCII",
  (text) => {
    const begins = /^(?:https?:\/\/(?:\$\{?\w+\}?|[0-9A-Za-z.:[\]_-]+)(?=[/?:]|$)|\/(?![/\\]))/.test(text);
    return begins && !text.includes("#") && templateOf(text) !== null ? text : null;
  },
);

/** The signin URL with where the client wanted to go in its query, unless it says that itself. */
export function signinTemplate(url: string, param: string): TextTemplate {
  const at = url.indexOf("?");
  const query = at < 0 ? "" : url.slice(at + 1);
  const said = query
    .split("&")
    .some((pair) => pair.startsWith(`${param}=`) && pair.length > param.length + 1);
  const back = `${at < 0 ? "?" : query === "" ? "" : "&"}${param}=$scheme://$http_host$escaped_request_uri`;
  return templateOf(said ? url : url + back) ?? [];
}
