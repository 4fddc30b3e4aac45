import type { AccessPolicy } from "../access.ts";
import {
  headerName,
  headerNames,
  ranges,
  realm,
  secretName,
  serviceUrl,
  signinUrl,
  templateVariables,
  textTemplate,
} from "../access-values.ts";
import { oneOf, trueFalse } from "../annotation-values.ts";
import { type Annotation, protecting, saying } from "./annotation.ts";

const access = saying<AccessPolicy>();

const METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "CONNECT", "OPTIONS", "TRACE"] as const;

/** Who may come in: data of a route. */
export const accessAnnotations: readonly Annotation<AccessPolicy>[] = [
  protecting(
    access(
      "allowlist-source-range",
      "allowlist",
      ranges,
      "",
      "all other addresses get 403. An address is the client's as nginx knows it",
    ),
  ),
  protecting(
    access(
      "whitelist-source-range",
      "whitelist",
      ranges,
      "",
      "the older name of allowlist-source-range, which goes before it",
    ),
  ),
  protecting(
    access("denylist-source-range", "denylist", ranges, "", "403; goes before the lists of those who may"),
  ),
  access(
    "satisfy",
    "satisfy",
    oneOf("all", "any"),
    "all",
    "any: an allowed address, a password or auth-url is enough. As in nginx a password lets in who is denied by address, too",
  ),
  protecting(
    access(
      "auth-type",
      "authType",
      oneOf("basic"),
      "",
      "needs auth-secret. Peers do not get the password. digest is refused: nginx itself has none",
    ),
  ),
  protecting(
    access(
      "auth-secret",
      "authSecret",
      secretName,
      "",
      "needs auth-type. A Secret of another namespace is refused",
    ),
  ),
  protecting(
    access(
      "auth-secret-type",
      "authSecretType",
      oneOf("auth-file", "auth-map"),
      "auth-file",
      "auth-file: lines of htpasswd under the key auth. auth-map: a user's hash under each key",
    ),
  ),
  access("auth-realm", "authRealm", realm, "Authentication Required"),
  protecting(
    access(
      "auth-url",
      "authUrl",
      serviceUrl,
      "",
      "asked of each request: 2xx lets it in, 401 and 403 go to the client, all else is 500. $host is the host of the rule, " +
        `and cannot be there where that is a wildcard or none. Behind it may stand ${templateVariables}`,
    ),
  ),
  protecting(access("auth-method", "authMethod", oneOf(...METHODS), "GET")),
  access(
    "auth-signin",
    "signin",
    signinUrl,
    "",
    "with auth-url: instead of 401 clients are sent there (302), with rd=URL behind it unless that stands " +
      "there already. May hold the same variables",
  ),
  access(
    "enable-global-auth",
    "globalAuth",
    trueFalse,
    "true",
    "false: global-auth-url of the ConfigMap is not asked",
  ),
  access("auth-signin-redirect-param", "signinParam", headerName, "rd"),
  protecting(
    access(
      "auth-response-headers",
      "authHeaders",
      headerNames,
      "",
      "of its answer, for peers. What a client sends under these names is taken away",
    ),
  ),
  access(
    "auth-always-set-cookie",
    "alwaysSetCookie",
    trueFalse,
    "false",
    "cookies of its answer go to the client with all answers, not only with good ones and redirects",
  ),
  access(
    "auth-request-redirect",
    "requestRedirect",
    textTemplate,
    "$request_uri",
    "what the service is told as X-Auth-Request-Redirect",
  ),
];
