import type {
  Access,
  AuthRequest,
  Balance,
  Canary,
  HealthCheck,
  Limits,
  PathPolicy,
  ProfileRow,
  RoutePath,
  SecretRow,
} from "@sluice/contracts";
import { shortened } from "./shortened.ts";

// Rows of a fleet as people read them: what a path does with its requests.

/** What ids of rows stand for. */
export interface Names {
  /** `namespace/name` of a Secret, by its row's id. */
  secret(id: string): string;
}

type Words = {
  readonly [K in keyof PathPolicy]?: (value: NonNullable<PathPolicy[K]>, names: Names) => string;
};

/** A key that is not here is shown by its name. */
const words: Words = {
  access: (access, names) => accessWords(access, names),
  auth: (auth) => `auth-url ${authWords(auth)}`,
  limits: (limits) => limitWords(limits),
  balance: (balance) => `balance ${balanceWords(balance)}`,
  firstByteMs: (ms) => (ms === 0 ? "first byte is waited for" : `first byte within ${ms} ms`),
  rewrite: (to) => `rewrite ${to}`,
  vhost: (host) => `Host ${host} for peers`,
  forwardedPrefix: (prefix) => `X-Forwarded-Prefix ${prefix}`,
  httpsOnly: () => "https only",
  clientCertificate: ({ verify }) => `client certificate ${verify}`,
  cors: ({ origins }) => `CORS ${origins === undefined ? "any origin" : origins.join(" ")}`,
  cookies: () => "cookies of peers change",
  errors: ({ codes }) => `error pages for ${codes.join(" ")}`,
  unlogged: () => "not in the access log",
};

const notPolicy: ReadonlySet<string> = new Set([
  "type",
  "path",
  "regex",
  "upstream",
  "spare",
  "profile",
  "redirect",
  "problem",
  "source",
  "service",
  // A line of its own.
  "canary",
]);

/** Of each policy of a path its key and what it says, the profile's settings last. */
export function policiesOf(
  path: RoutePath,
  profile: ProfileRow | undefined,
  names: Names,
): { readonly key: string; readonly text: string }[] {
  const own = Object.entries(path)
    .filter(([key, value]) => !notPolicy.has(key) && value !== undefined)
    .map(([key, value]) => {
      const say = words[key as keyof PathPolicy] as ((of: unknown, names: Names) => string) | undefined;
      return { key, text: say === undefined ? key : say(value, names) };
    });
  // What nginx has to do for the policies is no policy.
  return [...own, ...settingsOf(profile?.settings ?? {})];
}

function settingsOf(settings: ProfileRow["settings"]): { readonly key: string; readonly text: string }[] {
  return Object.entries(settings)
    .filter(([key]) => !phases.has(key))
    .map(([key, value]) => ({ key, text: settingWords(key, value) }));
}

/** `read timeout 5000 ms; max body 0 bytes` */
export function settingsWords(settings: ProfileRow["settings"]): string {
  return settingsOf(settings)
    .map(({ text }) => text)
    .join("; ");
}

/** Settings of a profile that say no more than that the path has policies. */
const phases: ReadonlySet<string> = new Set(["rewrites", "guards", "filters", "clientFacts", "errorCodes"]);

/** `readTimeoutMs` 5000: `read timeout 5000 ms` */
function settingWords(key: string, value: string | number | boolean): string {
  const unit = /(Ms|Bytes)$/.exec(key)?.[1];
  const name = key
    .slice(0, key.length - (unit ?? "").length)
    .replace(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`);
  if (typeof value === "boolean") return `${name} ${value ? "on" : "off"}`;
  return `${name} ${value}${unit === "Ms" ? " ms" : unit === "Bytes" ? " bytes" : ""}`;
}

function accessWords({ allow, deny, users, any }: Access, names: Names): string {
  const said = [
    ...(allow === undefined ? [] : [`allow ${some(allow)}`]),
    ...(deny === undefined ? [] : [`deny ${some(deny)}`]),
    ...(users === undefined ? [] : [`password of Secret ${names.secret(users.secret)}`]),
    ...(any === true ? ["one of these is enough"] : []),
  ];
  return said.join(", ");
}

/** Ranges; of many the first ones and how many there are. */
function some(ranges: readonly string[]): string {
  return shortened(ranges, 4, " ");
}

function authWords({ secure, host, port, target }: AuthRequest): string {
  const path = target.map((part) => ("text" in part ? part.text : `$${part.variable}`)).join("");
  return `${secure === true ? "https" : "http"}://${host.includes(":") ? `[${host}]` : host}:${port}${path}`;
}

function limitWords({ rates = [], connections, bytesPerSecond }: Limits): string {
  return [
    ...rates.map(
      ({ requests, seconds, burst }) =>
        `limit ${requests} requests ${seconds === 1 ? "a second" : `in ${seconds} s`}, burst ${burst}`,
    ),
    ...(connections === undefined ? [] : [`limit ${connections} connections`]),
    ...(bytesPerSecond === undefined ? [] : [`limit ${bytesPerSecond} bytes a second`]),
  ].join(", ");
}

function balanceWords({ method, by, cookie }: Balance): string {
  if (cookie !== undefined) return `by cookie ${cookie.name}`;
  if (by === undefined) return method;
  return `by hash of ${by.map((part) => ("text" in part ? part.text : `$${part.variable}`)).join("")}`;
}

/** `header x-canary, 20 of 100` */
export function canaryWords({ header, cookie, weight, of = 100 }: Canary): string {
  const says = (name: string, { value, pattern }: NonNullable<Canary["header"]>) => {
    if (value !== undefined) return `header ${name}: ${value}`;
    return pattern === undefined ? `header ${name}: always` : `header ${name} ~ ${pattern}`;
  };
  const conditions = [
    ...(header === undefined ? [] : [says(header.name.replaceAll("_", "-"), header)]),
    ...(cookie === undefined ? [] : [`cookie ${cookie}=always`]),
    ...(weight === undefined ? [] : [`${weight} of ${of} others`]),
  ];
  if (conditions.length === 1 && weight !== undefined) return `${weight} of ${of}`;
  return conditions.join(", ") || "no request";
}

/** `http /healthz every 2000 ms` */
export function checkWords({ kind, path, service, intervalMs }: HealthCheck): string {
  const what = path ?? service;
  return `${kind}${what === undefined ? "" : ` ${what}`} every ${intervalMs} ms`;
}

/** Names by the rows that say them; an id that no row stands for is shown as it is. */
export function namesOf(secrets: readonly SecretRow[]): Names {
  const byId = new Map(secrets.map(({ id, namespace, name }) => [id, `${namespace}/${name}`]));
  return { secret: (id) => byId.get(id) ?? id };
}
