import type { ListenerSettings, ProfileSettings } from "@sluice/ingress";
import {
  type Directive,
  directive,
  listenAddress,
  lua,
  number,
  onOff,
  opensslNames,
  quoted,
  sharedSessions,
  tlsVersions,
  type Value,
  wholeSeconds,
  word,
} from "./nginx-text.ts";

/** Where TLS clients come in. */
export interface TlsListener {
  /** Such as `*:443`. */
  readonly address: string;
  /** Files in PEM: shown where nobody has given a certificate, and to clients that name no host. */
  readonly certificate: string;
  readonly key: string;
}

const w = word;
const d = directive;

/** nginx has had a directive for HTTP/2 since then; before, it is a word of `listen`. */
const HTTP2_DIRECTIVE = [1, 25, 1] as const;

/** @param version such as `1.22.1` */
function hasHttp2Directive(version: string): boolean {
  const numbers = version.split(".").map(Number);
  for (const [i, least] of HTTP2_DIRECTIVE.entries()) {
    const number = numbers[i] ?? 0;
    if (number !== least) return number > least;
  }
  return true;
}

/** Forward secrecy and authenticated encryption only: what ingress-nginx offers, less the suites that need parameters of their own. */
const ciphers: Value = w`ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305`;

/** What makes a server one for TLS. Which certificate it shows is data: nginx.conf names the last resort only. */
export function tlsListener(
  { address, certificate, key }: TlsListener,
  version: string,
  preface: readonly Value[] = [],
  settings: Partial<ListenerSettings> = {},
): Directive[] {
  const { http2 = true, tlsProtocols, tlsCiphers, tlsCurves, tlsSessionCache = true } = settings;
  const {
    tlsSessionCacheBytes: cache,
    tlsSessionSeconds,
    tlsSessionTickets = false,
    tlsBufferBytes,
  } = settings;
  const listen = [listenAddress(address), w`ssl`, ...preface];
  return [
    ...(http2 && !hasHttp2Directive(version)
      ? [d("listen", [...listen, w`http2`, w`default_server`])]
      : [d("listen", [...listen, w`default_server`]), ...(http2 ? [d("http2", [w`on`])] : [])]),
    d("ssl_certificate", [quoted(certificate)]),
    d("ssl_certificate_key", [quoted(key)]),
    d("ssl_protocols", tlsProtocols === undefined ? [w`TLSv1.2`, w`TLSv1.3`] : tlsVersions(tlsProtocols)),
    d("ssl_ciphers", [tlsCiphers === undefined ? ciphers : opensslNames(tlsCiphers)]),
    ...(tlsCurves === undefined ? [] : [d("ssl_ecdh_curve", [opensslNames(tlsCurves)])]),
    d("ssl_prefer_server_ciphers", [w`on`]),
    d("ssl_session_cache", [
      !tlsSessionCache
        ? w`none`
        : cache === undefined
          ? w`shared:sluice_sessions:10m`
          : sharedSessions(cache),
    ]),
    d("ssl_session_timeout", [tlsSessionSeconds === undefined ? w`10m` : wholeSeconds(tlsSessionSeconds)]),
    // Their key would be as old as nginx, and read all that was ever sent.
    d("ssl_session_tickets", [onOff(tlsSessionTickets)]),
    d("ssl_buffer_size", [tlsBufferBytes === undefined ? w`4k` : number(tlsBufferBytes)]),
    lua("ssl_client_hello_by_lua_block")`sluice.hello()`,
    lua("ssl_certificate_by_lua_block")`sluice.certificate()`,
    lua("header_filter_by_lua_block")`sluice.secure()`,
  ];
}

/** Under the names that ingress-nginx uses. What a client sends under them is never passed on. */
export function clientHeaders(facts: ProfileSettings["clientFacts"]): Directive[] {
  const told = facts !== "none";
  return [
    d("proxy_set_header", [w`ssl-client-verify`, told ? w`$ssl_client_verify` : w`""`]),
    d("proxy_set_header", [w`ssl-client-subject-dn`, told ? w`$ssl_client_s_dn` : w`""`]),
    d("proxy_set_header", [w`ssl-client-issuer-dn`, told ? w`$ssl_client_i_dn` : w`""`]),
    d("proxy_set_header", [w`ssl-client-cert`, facts === "whole" ? w`$ssl_client_escaped_cert` : w`""`]),
  ];
}
