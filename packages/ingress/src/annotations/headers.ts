import { trueFalse, wholeNumber } from "../annotation-values.ts";
import {
  configMapName,
  cookieChange,
  errorCodes,
  exposedHeaders,
  headerNames,
  methods,
  origins,
} from "../header-values.ts";
import { corsDefaults, type HeaderPolicy } from "../headers.ts";
import { type Annotation, saying } from "./annotation.ts";

const header = saying<HeaderPolicy>();

const AGES = [0, 10 * 365 * 86_400] as const;

/** Headers of answers, who answers errors, and what is logged: data of a route. */
export const headerAnnotations: readonly Annotation<HeaderPolicy>[] = [
  header(
    "enable-cors",
    "cors",
    trueFalse,
    "false",
    "an OPTIONS request of an origin that may is answered here by 204, before anybody is asked who may come in. Every " +
      "other answer to it gets the headers, errors too; what the peer said under their names is replaced",
  ),
  {
    ...header(
      "cors-allow-origin",
      "corsOrigins",
      origins,
      "*",
      "compared whole and without case; *. stands for one label. * is answered by *, all else by the origin itself and " +
        "Vary: Origin. ingress-nginx: also an origin that ends with one of these, and no Vary; one that is ill-typed " +
        "opens to all",
    ),
    read: (text) => {
      const reading = origins.read(text);
      if (reading.ok) return { ok: true, said: { corsOrigins: reading.value } };
      return { ...reading, meanwhile: { said: { corsOrigins: [] }, what: "no origin may" } };
    },
  },
  header("cors-allow-methods", "corsMethods", methods, corsDefaults.methods),
  header("cors-allow-headers", "corsHeaders", headerNames, corsDefaults.headers),
  header(
    "cors-allow-credentials",
    "corsCredentials",
    trueFalse,
    "true",
    "browsers take no credentials with *, whatever this says",
  ),
  header("cors-expose-headers", "corsExpose", exposedHeaders, ""),
  header("cors-max-age", "corsMaxAge", wholeNumber(AGES), String(corsDefaults.maxAge), "seconds"),
  header(
    "proxy-cookie-domain",
    "cookieDomain",
    cookieChange,
    "off",
    "what the Domain of cookies that peers set becomes; compared without case and without a leading dot",
  ),
  header(
    "proxy-cookie-path",
    "cookiePath",
    cookieChange,
    "off",
    "what the Path of cookies that peers set begins with, and what it shall begin with",
  ),
  header(
    "custom-headers",
    "answerHeaders",
    configMapName,
    "",
    "its keys become headers of answers, in place of what the peer says under their names: see " +
      "[headers from a ConfigMap](custom-headers.md). One that may not be is left out and told. ingress-nginx: then the object " +
      "answers 503",
  ),
  header("enable-access-log", "accessLog", trueFalse, "true"),
  header(
    "custom-http-errors",
    "errors",
    errorCodes,
    "",
    "answers with these statuses are replaced by what default-backend says to GET / with X-Code, X-Format, " +
      "X-Original-URI, X-Namespace, X-Ingress-Name, X-Service-Name, X-Service-Port and X-Request-ID. Without it, or " +
      "where it has no peers, the status stays and its text goes. ingress-nginx keeps the method and sends the body again",
  ),
];
