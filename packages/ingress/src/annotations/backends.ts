import { onOff, reader, trueFalse, wholeNumber } from "../annotation-values.ts";
import { type BackendPolicy, tlsDepths } from "../backend.ts";
import { backendProtocol, tlsCiphers, tlsName, tlsProtocols } from "../backend-values.ts";
import { type Annotation, protecting, saying } from "./annotation.ts";

const backend = saying<BackendPolicy>();

/** How peers are spoken to. */
export const backendAnnotations: readonly Annotation<BackendPolicy>[] = [
  backend(
    "backend-protocol",
    "protocol",
    backendProtocol,
    "HTTP",
    "FCGI, AJP and AUTO_HTTP are not spoken: the paths of an object that asks for them answer 503. A port's appProtocol says " +
      "nothing here, as in ingress-nginx",
  ),
  protecting(
    backend(
      "proxy-ssl-secret",
      "secret",
      reader("name or namespace/name of a Secret", (text) => (text.length <= 507 ? text : null)),
      "",
      "its tls.crt and tls.key are shown to peers that ask for a certificate; its ca.crt says by whom theirs must be signed",
    ),
  ),
  protecting(
    backend(
      "proxy-ssl-verify",
      "verify",
      onOff,
      "off",
      "on: needs proxy-ssl-name, and ca.crt in proxy-ssl-secret; without them the paths of the object answer 503 (ingress-nginx " +
        "would not verify without a Secret, and would find every certificate wrong without a name)",
    ),
  ),
  backend("proxy-ssl-verify-depth", "depth", wholeNumber(tlsDepths), "1", "of certificates between"),
  protecting(
    backend("proxy-ssl-name", "name", tlsName, "", "the name that a peer's certificate must be for"),
  ),
  backend(
    "proxy-ssl-server-name",
    "serverName",
    onOff,
    "off",
    "on: proxy-ssl-name is sent as SNI. ingress-nginx heeds this and the next two only beside a proxy-ssl-secret",
  ),
  backend(
    "proxy-ssl-protocols",
    "protocols",
    tlsProtocols,
    "TLSv1.2 TLSv1.3",
    "ingress-nginx: TLSv1 to TLSv1.2",
  ),
  backend("proxy-ssl-ciphers", "ciphers", tlsCiphers, "DEFAULT", "up to TLS 1.2"),
  backend(
    "service-upstream",
    "serviceUpstream",
    trueFalse,
    "false",
    "without effect: no cluster IP reaches over clusters, so requests always go to pods",
  ),
];
