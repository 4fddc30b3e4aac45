// ingress-nginx's ConfigMap, key by key. A key of this list acts, or whoever wrote it is told what to use instead;
// docs/reference/configmap.md is made from it.

import { answerHeaderNames } from "../header-values.ts";
import { type SettingKey, settingKeys } from "./listener-keys.ts";

/** One key, or several of one kind: `*` stands for anything. */
interface Named {
  readonly name: string;
}

/** What objects have that do not say it themselves. Acts where their annotation has a meaning. */
export interface DefaultKey extends Named {
  readonly kind: "default";
  /** Behind `nginx.ingress.kubernetes.io/`. */
  readonly annotation: string;
}

/** Read by the model itself. */
export interface ModelKey extends Named {
  readonly kind: "model";
  readonly shape: string;
  readonly unsaid: string;
  readonly note: string;
}

/** Sluice knows one way. */
export interface FixedKey extends Named {
  readonly kind: "fixed";
  /** The value that says so. */
  readonly value: string;
  readonly why: string;
}

export interface RefusedKey extends Named {
  readonly kind: "refused";
  /** With what to use instead. */
  readonly why: string;
  /** Whether somebody who wrote this value relies on it to keep others out. */
  readonly protects?: (value: string) => boolean;
}

export type ConfigKey = DefaultKey | ModelKey | SettingKey | FixedKey | RefusedKey;

const defaultOf = (annotation: string, name = annotation): DefaultKey => ({
  kind: "default",
  name,
  annotation,
});
const fixed = (name: string, value: string, why: string): FixedKey => ({ kind: "fixed", name, value, why });
const refused = (name: string, why: string, protects?: (value: string) => boolean): RefusedKey =>
  protects === undefined ? { kind: "refused", name, why } : { kind: "refused", name, why, protects };

const always = () => true;
/** Directives by which a snippet guards. */
const GUARDS = /\b(deny|allow|auth_[a-z_]+|return|access_by_lua\w*|ssl_verify_client)\b/;

const NO_WAF =
  "there is no ModSecurity here; put a web application firewall before the proxies, or before the backend";
const NO_COMPRESSION = "answers are not compressed here; have backends compress what they answer";
const NO_TRACER = "requests are not reported to a tracer; traceparent is passed on to peers";
const OWN_TLS = "the proxy-agent's own: certificates and keys come from Secrets of objects";
const OWN_LISTENERS = "where nginx listens is said to the proxy-agent";
const OWN_SIZES = "the proxy-agent sizes nginx itself";

/** The first whose name fits counts. */
export const configKeys: readonly ConfigKey[] = [
  ...[
    "proxy-body-size",
    "client-body-buffer-size",
    "proxy-connect-timeout",
    "proxy-read-timeout",
    "proxy-send-timeout",
    "proxy-buffering",
    "proxy-buffer-size",
    "proxy-buffers-number",
    "proxy-request-buffering",
    "proxy-next-upstream",
    "proxy-next-upstream-tries",
    "proxy-next-upstream-timeout",
    "load-balance",
    "ssl-redirect",
    "force-ssl-redirect",
    "whitelist-source-range",
    "denylist-source-range",
    "limit-rate",
    "limit-rate-after",
    "custom-http-errors",
    "proxy-cookie-domain",
    "proxy-cookie-path",
    "proxy-redirect-from",
    "proxy-redirect-to",
  ].map((name) => defaultOf(name)),
  ...[
    "auth-url",
    "auth-method",
    "auth-signin",
    "auth-signin-redirect-param",
    "auth-response-headers",
    "auth-request-redirect",
    "auth-always-set-cookie",
  ].map((name) => defaultOf(name, `global-${name}`)),
  {
    kind: "model",
    name: "annotation-value-word-blocklist",
    shape: "words with commas between",
    unsaid: "",
    note: "an object with one of them in an annotation of ingress-nginx answers 503. Nothing of an object's reaches nginx.conf as text, with or without it",
  },
  {
    kind: "model",
    name: "global-allowed-response-headers",
    shape: answerHeaderNames.shape,
    unsaid: "",
    note: "what ConfigMaps that custom-headers names may hold; none where nothing is said. As in ingress-nginx, but without regard to case",
  },
  {
    kind: "model",
    name: "no-tls-redirect-locations",
    shape: "beginnings of paths with commas between",
    unsaid: "/.well-known/acme-challenge",
    note: "paths that begin so are served in clear, whatever ssl-redirect says; /.well-known/acme-challenge where nothing is said, for who issues a certificate asks for that in clear",
  },
  ...settingKeys,
  refused("proxy-protocol-header-timeout", "write client-header-timeout: nginx waits as long for both"),
  refused("disable-http-access-log", "write disable-access-log: only HTTP is served"),
  refused("disable-stream-access-log", "only HTTP is served"),
  fixed("allow-snippet-annotations", "false", "text for nginx.conf is never taken from an object"),
  fixed(
    "allow-cross-namespace-resources",
    "false",
    "Secrets and ConfigMaps of another namespace are refused",
  ),
  fixed("allow-backend-server-header", "false", "the header Server is the proxy's own"),
  fixed("enable-modsecurity", "false", NO_WAF),
  fixed("enable-owasp-modsecurity-crs", "false", NO_WAF),
  fixed("use-gzip", "false", NO_COMPRESSION),
  fixed("enable-brotli", "false", NO_COMPRESSION),
  fixed("use-geoip", "false", "there is no GeoIP here"),
  fixed("use-geoip2", "false", "there is no GeoIP here"),
  fixed("enable-opentracing", "false", NO_TRACER),
  fixed("enable-opentelemetry", "false", NO_TRACER),
  fixed("retry-non-idempotent", "false", "write non_idempotent into proxy-next-upstream"),
  fixed("service-upstream", "false", "no cluster IP spans clusters: peers are pods"),
  fixed("ignore-invalid-headers", "true", "they are left out"),
  fixed(
    "enable-underscores-in-headers",
    "false",
    "headers with _ in their name are left out: many a peer takes it for -",
  ),
  fixed(
    "proxy-add-original-uri-header",
    "false",
    "peers see path and query as they came, unless the route rewrites",
  ),
  fixed("http-redirect-code", "308", "methods and bodies are kept"),
  fixed("limit-req-status-code", "503", "what is above a limit gets 503"),
  fixed("limit-conn-status-code", "503", "what is above a limit gets 503"),
  fixed("ssl-early-data", "false", "what is sent early may be sent twice"),
  fixed("ssl-reject-handshake", "false", "a name without a certificate is shown the default one"),
  fixed("enable-ocsp", "false", "answers of OCSP are not stapled"),
  refused(
    "no-auth-locations",
    "give paths that all may reach a MultiClusterIngress with enable-global-auth: false",
  ),
  refused("global-auth-cache-*", "answers of auth-url are not kept: each request is asked for"),
  refused(
    "global-auth-*",
    "text for nginx.conf is never taken; have the service that is asked do it",
    always,
  ),
  refused("block-cidrs", "write denylist-source-range", always),
  refused("block-user-agents", "have auth-url, or a firewall before the proxies, refuse them", always),
  refused("block-referers", "have auth-url, or a firewall before the proxies, refuse them", always),
  refused("*-snippet", "text for nginx.conf is never taken", (value) => GUARDS.test(value)),
  refused("modsecurity-*", NO_WAF),
  refused(
    "global-rate-limit-*",
    "there is no memcached here; write limit-rps or limit-rpm on objects, which count by proxy",
  ),
  refused("annotations-risk-level", "no annotation can write into nginx.conf: there is nothing to choose"),
  refused("strict-validate-path-type", "docs/reference/routing.md says which paths are refused"),
  refused("add-headers", "another ConfigMap is not read for it; have backends say them"),
  refused(
    "proxy-set-headers",
    "another ConfigMap is not read for it; docs/reference/routing.md says what peers see",
  ),
  refused("hide-headers", "have backends leave them out"),
  ...["access-log-*", "http-access-log-path", "stream-access-log-path"].map((name) =>
    refused(
      name,
      "where it is logged is said to the proxy-agent; enable-access-log: false leaves out an object's requests",
    ),
  ),
  refused("enable-access-log-for-default-backend", "what no rule takes is logged as all else is"),
  refused("enable-auth-access-log", "what auth-url is asked is not logged"),
  refused("log-format-*", "lines of the access log are JSON with fields of their own"),
  refused("error-log-*", "nginx's own errors are in error.log of the proxy's folder"),
  ...["enable-syslog", "syslog-*"].map((name) => refused(name, "have the log of the proxy-agent collected")),
  ...["zipkin-*", "jaeger-*", "datadog-*", "opentracing-*", "otel-*", "otlp-*", "opentelemetry-*"].map(
    (name) => refused(name, NO_TRACER),
  ),
  ...["gzip-*", "brotli-*"].map((name) => refused(name, NO_COMPRESSION)),
  refused("geoip2-*", "there is no GeoIP here"),
  refused("ssl-*", OWN_TLS),
  ...["bind-address", "disable-ipv6", "reuse-port"].map((name) => refused(name, OWN_LISTENERS)),
  refused("disable-ipv6-dns", "the proxy-agent asks the name servers of its machine"),
  ...[
    "worker-*",
    "max-worker-*",
    "enable-multi-accept",
    "http2-*",
    "lua-shared-dicts",
    "grpc-buffer-size-kb",
  ].map((name) => refused(name, OWN_SIZES)),
  ...["*-hash-bucket-size", "*-hash-max-size"].map((name) =>
    refused(name, "routes are data: nginx has no tables of names to size"),
  ),
  refused("limit-conn-zone-variable", "clients are told apart by their address"),
  refused("proxy-stream-*", "only HTTP is served"),
  refused("plugins", "there are no plugins"),
  refused("nginx-status-*", "metrics are the proxy-agent's, on a port of its own"),
  refused("proxy-ssl-location-only", "proxy-ssl-* holds for the paths of its object, always"),
  refused("default-type", "answers have the type that backends say"),
  refused("debug-connections", "write --log-level debug"),
  refused("disable-proxy-intercept-errors", "write custom-http-errors on those objects that want it"),
];

const patterns = configKeys.map((key) => ({
  key,
  pattern: new RegExp(`^${key.name.replaceAll("*", ".*")}$`),
}));

export function findConfigKey(name: string): ConfigKey | undefined {
  return patterns.find(({ pattern }) => pattern.test(name))?.key;
}
