// Each annotation of ingress-nginx that has a meaning here, once: what may be written, where it acts, and what holds when
// nothing is said. docs/reference/annotations.md is made from it.
import {
  cookieDomain,
  cookieName,
  cookiePath,
  forwardedPrefix,
  hashKey,
  hostNames,
  hostPath,
  hostTemplate,
  oneOf,
  oneOfAnyCase,
  onOff,
  rewriteTarget,
  seconds,
  serviceName,
  size,
  trueFalse,
  type ValueReader,
  webUrl,
  wholeNumber,
  words,
} from "./annotation-values.ts";
import type { BalancePolicy } from "./balance.ts";
import { defaultSettings, nextUpstreamWords, type ProfileSettings, settingBounds } from "./profile.ts";
import type { RedirectPolicy } from "./redirect.ts";
import type { RoutePolicy } from "./route-policy.ts";

/** One annotation that says one field of a `Said`. */
export interface Annotation<Said> {
  /** Behind `nginx.ingress.kubernetes.io/`. */
  readonly name: string;
  readonly shape: string;
  /** What holds when nothing is said, as a user would write it; empty: nothing. */
  readonly unsaid: string;
  /** What a user of ingress-nginx would not expect, or what stands behind it. */
  readonly note: string;
  /** @returns what it says, or what is wrong with the text */
  read(
    text: string,
  ): { readonly ok: true; readonly said: Partial<Said> } | { readonly ok: false; readonly why: string };
}

/** @returns makes annotations of one kind */
function kind<Said>() {
  return <K extends keyof Said>(
    name: string,
    key: K,
    value: ValueReader<NonNullable<Said[K]>>,
    unsaid: string,
    note = "",
  ): Annotation<Said> => ({
    name,
    shape: value.shape,
    unsaid,
    note,
    read: (text) => {
      const reading = value.read(text);
      return reading.ok ? { ok: true, said: { [key]: reading.value } as unknown as Partial<Said> } : reading;
    },
  });
}

const setting = kind<ProfileSettings>();
const redirect = kind<RedirectPolicy>();
const route = kind<RoutePolicy>();
const balance = kind<BalancePolicy>();

const bounds = settingBounds;
const inSeconds = (ms: number) => String(ms / 1000);

/** Settings of a profile: nginx.conf gets a location for each set of settings that is in use. */
export const settingAnnotations: readonly Annotation<ProfileSettings>[] = [
  setting(
    "proxy-body-size",
    "maxBodyBytes",
    size(bounds.maxBodyBytes),
    "1m",
    "0: any size; larger bodies get 413",
  ),
  setting(
    "client-body-buffer-size",
    "bodyBufferBytes",
    size(bounds.bodyBufferBytes),
    "16k",
    "ingress-nginx: 8k",
  ),
  setting(
    "proxy-connect-timeout",
    "connectTimeoutMs",
    seconds(bounds.connectTimeoutMs),
    inSeconds(defaultSettings.connectTimeoutMs),
    "ingress-nginx: 5. Another peer is tried at once, so that a dead one costs a quarter of a second",
  ),
  setting("proxy-read-timeout", "readTimeoutMs", seconds(bounds.readTimeoutMs), "60", "between two reads"),
  setting("proxy-send-timeout", "sendTimeoutMs", seconds(bounds.sendTimeoutMs), "60", "between two writes"),
  setting(
    "proxy-buffering",
    "responseBuffering",
    onOff,
    "on",
    "ingress-nginx: off. A response with X-Accel-Buffering: no is never buffered",
  ),
  setting(
    "proxy-buffer-size",
    "bufferBytes",
    size(bounds.bufferBytes),
    "4k",
    "of each buffer; a response's header must fit into one, else the answer is 502",
  ),
  setting("proxy-buffers-number", "buffers", wholeNumber(bounds.buffers), "8", "ingress-nginx: 4"),
  setting(
    "proxy-request-buffering",
    "requestBuffering",
    onOff,
    "on",
    "off: a request that has begun is not tried elsewhere",
  ),
  setting("proxy-http-version", "httpVersion", oneOf("1.0", "1.1"), "1.1", "to the peer"),
  setting(
    "proxy-next-upstream",
    "nextUpstream",
    words(nextUpstreamWords),
    defaultSettings.nextUpstream,
    "off: a request goes to one peer. non_idempotent: POST, LOCK and PATCH are sent again, too",
  ),
  setting(
    "proxy-next-upstream-tries",
    "nextTries",
    wholeNumber(bounds.nextTries),
    "3",
    "peers that a request tries; 0: as many as there are, up to 32",
  ),
  setting(
    "proxy-next-upstream-timeout",
    "nextTimeoutMs",
    seconds(bounds.nextTimeoutMs),
    inSeconds(defaultSettings.nextTimeoutMs),
    "over all tries; 0: no limit, which is ingress-nginx's own. Never less than twice the first-byte limit unless it is said",
  ),
];

const CODES = [300, 308] as const;

/** Answers that are data of a route. */
export const redirectAnnotations: readonly Annotation<RedirectPolicy>[] = [
  redirect(
    "permanent-redirect",
    "permanent",
    webUrl,
    "",
    "every path of the object answers with it; what was asked for is not added",
  ),
  redirect("permanent-redirect-code", "permanentCode", wholeNumber(CODES), "301"),
  redirect("temporal-redirect", "temporal", webUrl, "", "goes before permanent-redirect"),
  redirect("temporal-redirect-code", "temporalCode", wholeNumber(CODES), "302"),
  redirect(
    "app-root",
    "appRoot",
    hostPath,
    "",
    "/ itself, where the object serves it, is sent there by a 302",
  ),
  redirect(
    "from-to-www-redirect",
    "fromToWww",
    trueFalse,
    "false",
    "each host of the object is reached from its name with www. too (or without, if it has one): that one answers 308. " +
      "Left out where a rule or a server-alias serves the other name. As in ingress-nginx a closing slash gets lost",
  ),
];

/** What paths of an object do beside leading to its backend: data of a route. */
export const routeAnnotations: readonly Annotation<RoutePolicy>[] = [
  route(
    "use-regex",
    "useRegex",
    trueFalse,
    "false",
    "paths are regular expressions (docs/reference/routing.md): all paths of the hosts of this object, those of other objects too",
  ),
  route(
    "rewrite-target",
    "rewrite",
    rewriteTarget,
    "",
    "what peers are asked for instead; implies use-regex unless it says the path itself. With an absolute URL: a 302",
  ),
  route(
    "x-forwarded-prefix",
    "forwardedPrefix",
    forwardedPrefix,
    "",
    "header X-Forwarded-Prefix for peers; only together with rewrite-target. What a client sends under that name is taken away",
  ),
  route(
    "upstream-vhost",
    "vhost",
    hostTemplate,
    "",
    "the Host that peers see; X-Forwarded-Host stays what was asked for. ingress-nginx: may hold any nginx variable",
  ),
  route(
    "default-backend",
    "spare",
    serviceName,
    "",
    "a ServiceImport of the same namespace, whose first TCP port is asked while the backend of a path has no peers",
  ),
  route(
    "server-alias",
    "aliases",
    hostNames,
    "",
    "more names of the object's host (of several: the first by name), with all paths that any object has there. " +
      "A name that a rule has is that rule's; of two objects the older one wins. ingress-nginx: may be regular expressions",
  ),
];

const AGES = [0, 10 * 365 * 86_400] as const;

/** Which peer of the backend a request goes to: data of a route. */
export const balanceAnnotations: readonly Annotation<BalancePolicy>[] = [
  balance(
    "load-balance",
    "method",
    oneOf("round_robin", "ewma", "least_conn"),
    "round_robin",
    "ewma: of two peers chosen by chance the one whose time to the first byte, averaged over some ten seconds, times " +
      "its requests in hand is less; least_conn (which ingress-nginx no longer has): the one with fewer requests in " +
      "hand. Both as one nginx worker knows it",
  ),
  balance(
    "upstream-hash-by",
    "hashBy",
    hashKey,
    "",
    "goes before load-balance. Requests of one key go to one peer; when peers come and go, the least possible of " +
      "keys move, and all proxies agree",
  ),
  balance(
    "affinity",
    "affinity",
    oneOf("cookie"),
    "",
    "goes before upstream-hash-by. A session stays with its peer by a cookie, whichever worker or proxy it meets. A " +
      "peer that terminates, or whose cluster is drained, keeps its sessions and gets no new one",
  ),
  balance(
    "affinity-mode",
    "affinityMode",
    oneOf("balanced", "persistent"),
    "balanced",
    "balanced: a peer that comes takes its share of the sessions over. persistent: it takes none",
  ),
  balance("session-cookie-name", "cookieName", cookieName, "INGRESSCOOKIE"),
  balance(
    "session-cookie-max-age",
    "cookieMaxAge",
    wholeNumber(AGES),
    "",
    "seconds; without it and session-cookie-expires the cookie ends with the browser",
  ),
  balance("session-cookie-expires", "cookieExpires", wholeNumber(AGES), "", "seconds, written as a date"),
  balance(
    "session-cookie-path",
    "cookiePath",
    cookiePath,
    "",
    "the path of the rule, or / where that is a regular expression",
  ),
  balance("session-cookie-domain", "cookieDomain", cookieDomain, "", "the host that was asked for alone"),
  balance("session-cookie-samesite", "cookieSameSite", oneOfAnyCase("None", "Lax", "Strict"), ""),
  balance("session-cookie-secure", "cookieSecure", trueFalse, "", "where the request came by https"),
  balance(
    "session-cookie-change-on-failure",
    "changeOnFailure",
    trueFalse,
    "false",
    "false: while its peer fails a session is served by another, and comes back (ingress-nginx asks the one that fails " +
      "again). true: it stays with the other one",
  ),
];
