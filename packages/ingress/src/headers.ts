import type { CookieChanges, Cors, PathPolicy } from "@sluice/contracts";
import type { CompiledPath } from "./compile-ingress.ts";
import type { ProfileSettings } from "./profile.ts";

type CookieChange = { readonly from: string; readonly to: string } | "off";

/** What annotations say of headers and of logs. Ages in seconds. */
export interface HeaderPolicy {
  readonly cors?: boolean;
  /** `*`: all; empty: none. */
  readonly corsOrigins?: readonly string[];
  readonly corsMethods?: string;
  readonly corsHeaders?: string;
  readonly corsCredentials?: boolean;
  readonly corsExpose?: string;
  readonly corsMaxAge?: number;
  readonly cookieDomain?: CookieChange;
  readonly cookiePath?: CookieChange;
  readonly accessLog?: boolean;
  /** A ConfigMap with headers, `name` or `namespace/name`. */
  readonly answerHeaders?: string;
  /** Statuses that somebody else answers. */
  readonly errors?: readonly number[];
}

/** As in ingress-nginx. */
export const corsDefaults = {
  methods: "GET, PUT, POST, DELETE, PATCH, OPTIONS",
  headers:
    "DNT,Keep-Alive,User-Agent,X-Requested-With,If-Modified-Since,Cache-Control,Content-Type,Range,Authorization",
  maxAge: 1_728_000,
} as const;

function corsOf(policy: HeaderPolicy): Cors {
  const { corsOrigins: origins = ["*"], corsExpose } = policy;
  return {
    ...(origins.includes("*") ? {} : { origins: [...origins] }),
    methods: policy.corsMethods ?? corsDefaults.methods,
    headers: policy.corsHeaders ?? corsDefaults.headers,
    ...(corsExpose === undefined ? {} : { expose: corsExpose }),
    maxAge: policy.corsMaxAge ?? corsDefaults.maxAge,
    ...(policy.corsCredentials === false ? {} : { credentials: true }),
  };
}

function cookiesOf({ cookieDomain, cookiePath }: HeaderPolicy): CookieChanges | null {
  const domain = cookieDomain === "off" ? undefined : cookieDomain;
  const path = cookiePath === "off" ? undefined : cookiePath;
  if (domain === undefined && path === undefined) return null;
  return { ...(domain === undefined ? {} : { domain }), ...(path === undefined ? {} : { path }) };
}

function portOf({ backend }: CompiledPath): { port?: string } {
  if (backend.kind === "none") return {};
  const { name, number } = backend.port;
  const port = name ?? (number === undefined ? undefined : String(number));
  // A name that no port can have has no peers either, and is nothing to be told in a header.
  return port !== undefined && /^[0-9A-Za-z-]{1,63}$/.test(port) ? { port } : {};
}

/** Settings of a profile that these ask for. */
export function headerSettings({ errors }: HeaderPolicy): Partial<ProfileSettings> {
  return errors === undefined ? {} : { errorCodes: errors.join(" ") };
}

/** The same paths with what becomes of the headers of their answers, and of what is logged of them. */
export function headed(paths: readonly CompiledPath[], policy: HeaderPolicy): CompiledPath[] {
  const cookies = cookiesOf(policy);
  const own: PathPolicy = {
    ...(policy.cors === true ? { cors: corsOf(policy) } : {}),
    ...(cookies === null ? {} : { cookies }),
    ...(policy.accessLog === false ? { unlogged: true } : {}),
  };
  const { errors } = policy;
  if (Object.keys(own).length === 0 && errors === undefined) return [...paths];
  return paths.map((path) => ({
    ...path,
    policy: {
      ...path.policy,
      ...own,
      ...(errors === undefined ? {} : { errors: { codes: [...errors], ...portOf(path) } }),
    },
  }));
}
