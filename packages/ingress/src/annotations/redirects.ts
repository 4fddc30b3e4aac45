import { hostPath, trueFalse, webUrl, wholeNumber } from "../annotation-values.ts";
import type { RedirectPolicy } from "../redirect.ts";
import { type Annotation, saying } from "./annotation.ts";

const redirect = saying<RedirectPolicy>();

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
  redirect(
    "ssl-redirect",
    "sslRedirect",
    trueFalse,
    "true",
    "who comes in clear to a host with TLS (docs/reference/tls.md) is sent to https by a 308; paths that begin with " +
      "/.well-known/acme-challenge are not",
  ),
  redirect(
    "force-ssl-redirect",
    "forceSslRedirect",
    trueFalse,
    "false",
    "the same for hosts without TLS, e.g. where a load balancer in front of the proxies ends it",
  ),
];
