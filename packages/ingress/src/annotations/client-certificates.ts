import { secretName } from "../access-values.ts";
import { oneOf, trueFalse, webUrl, wholeNumber } from "../annotation-values.ts";
import type { ClientPolicy } from "../client-certificates.ts";
import { type Annotation, protecting, saying } from "./annotation.ts";

const clients = saying<ClientPolicy>();

/** Whose certificates let clients in: of a host, not of a path. */
export const clientAnnotations: readonly Annotation<ClientPolicy>[] = [
  protecting(
    clients(
      "auth-tls-secret",
      "secret",
      secretName,
      "",
      "its `ca.crt` holds the authorities that sign clients' certificates",
    ),
  ),
  protecting(
    clients(
      "auth-tls-verify-client",
      "verify",
      oneOf("on", "off", "optional", "optional_no_ca"),
      "on",
      "optional: who shows one must show a right one; optional_no_ca: it may be signed by anybody, and the backend is told what was found",
    ),
  ),
  protecting(
    clients(
      "auth-tls-verify-depth",
      "depth",
      wholeNumber([0, 100]),
      "1",
      "certificates between the client's and the authority's, at most. ingress-nginx takes 0 for 1",
    ),
  ),
  clients(
    "auth-tls-pass-certificate-to-upstream",
    "pass",
    trueFalse,
    "false",
    "header ssl-client-cert for peers, URL-encoded PEM",
  ),
  clients(
    "auth-tls-error-page",
    "errorPage",
    webUrl,
    "",
    "where a client is sent (302) whose certificate will not do; else it gets 400. ingress-nginx: may hold nginx variables",
  ),
];
