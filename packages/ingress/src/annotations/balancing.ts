import {
  cookieDomain,
  cookieName,
  cookiePath,
  hashKey,
  oneOf,
  oneOfAnyCase,
  trueFalse,
  wholeNumber,
} from "../annotation-values.ts";
import type { BalancePolicy } from "../balance.ts";
import { type Annotation, saying } from "./annotation.ts";

const balance = saying<BalancePolicy>();

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
