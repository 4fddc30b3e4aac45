// What is never given a meaning, with the reason and what to use instead. What protects closes the paths of its object:
// served without it they would be open.

export interface RefusedAnnotation {
  /** Behind `nginx.ingress.kubernetes.io/`; `*` stands for anything. */
  readonly name: string;
  readonly why: string;
  /** Whether somebody who wrote this value relies on it to keep others out. */
  protects(value: string): boolean;
}

/** Directives by which a snippet guards. */
const GUARDS = /\b(deny|allow|auth_[a-z_]+|return|access_by_lua\w*|ssl_verify_client)\b/;
const never = () => false;
const always = () => true;
const PER_REQUEST = "auth-url is asked of each request; it has connections of its own that are kept open";

/** The first whose name fits counts. */
export const refusedAnnotations: readonly RefusedAnnotation[] = [
  {
    name: "auth-snippet",
    why: "text for nginx.conf is never taken from an object; have the service that is asked do it",
    protects: always,
  },
  {
    name: "*-snippet",
    why: "text for nginx.conf is never taken from an object; say it by other annotations (docs/reference/annotations.md)",
    protects: (value) => GUARDS.test(value),
  },
  {
    name: "*modsecurity*",
    why: "there is no ModSecurity here; put a web application firewall before the proxies, or before the backend",
    protects: never,
  },
  {
    name: "enable-owasp-core-rules",
    why: "there is no ModSecurity here; put a web application firewall before the proxies, or before the backend",
    protects: never,
  },
  {
    name: "auth-proxy-set-headers",
    why: "a ConfigMap is not read for it; have the service that is asked know it, or write it into the query of auth-url",
    protects: always,
  },
  {
    name: "auth-cache-*",
    why: "answers of auth-url are not kept: each request is asked for",
    protects: never,
  },
  { name: "auth-keepalive*", why: PER_REQUEST, protects: never },
  { name: "auth-*", why: "it is not supported", protects: always },
];

const patterns = refusedAnnotations.map((refused) => ({
  refused,
  pattern: new RegExp(`^${refused.name.replaceAll("*", ".*")}$`),
}));

export function findRefused(name: string): RefusedAnnotation | undefined {
  return patterns.find(({ pattern }) => pattern.test(name))?.refused;
}
