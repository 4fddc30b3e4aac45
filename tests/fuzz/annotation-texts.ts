import { readFileSync } from "node:fs";
import { join } from "node:path";

/** What a page of the reference names in the first column of its tables. */
function namedIn(page: string): readonly string[] {
  const text = readFileSync(join(import.meta.dirname, "../../docs/reference", page), "utf8");
  return [...new Set([...text.matchAll(/^\| `([a-z0-9-]+)` \|/gm)].map(([, name = ""]) => name))];
}

/** Behind `nginx.ingress.kubernetes.io/`. */
const known = namedIn("annotations.md").filter(
  (name) => !["cluster-weights", "failover", "from-clusters"].includes(name),
);

/** Of ingress-nginx, whether or not they have a meaning here. */
const others: readonly string[] = [
  "auth-snippet",
  "auth-tls-match-cn",
  "auth-proxy-set-headers",
  "configuration-snippet",
  "connection-proxy-header",
  "enable-global-auth",
  "enable-modsecurity",
  "enable-opentelemetry",
  "modsecurity-snippet",
  "mirror-host",
  "mirror-target",
  "proxy-cookie-path",
  "proxy-redirect-from",
  "proxy-redirect-to",
  "server-snippet",
  "stream-snippet",
  "x-forwarded-prefix",
];

export const annotationNames: readonly string[] = [...new Set([...known, ...others])];
export const configKeys: readonly string[] = [...new Set([...namedIn("configmap.md"), ...others])];

/** What one would write. */
const ANY: readonly string[] = [
  "true",
  "false",
  "on",
  "off",
  "0",
  "1",
  "2",
  "10",
  "60",
  "1m",
  "8k",
  "3600",
  "86400",
  "/",
  "/app",
  "/$1",
  "/$2?x=$1",
  "https://www.example.test/x",
  "http://auth.example.test/check?a=b",
  "web",
  "shop/secret",
  "secret",
  "10.0.0.0/8",
  "10.0.0.0/8,2001:db8::/32",
  "example.test",
  "a.example.test,*.b.example.test",
  "GET",
  "302",
  "308",
  "404,503",
  "X-Header",
  "X-A,X-B",
  "*",
  "Lax",
  "any",
  "basic",
  "cookie",
  "$remote_addr",
];

const OWN: Readonly<Record<string, readonly string[]>> = {
  affinity: ["cookie"],
  "affinity-mode": ["balanced", "persistent"],
  "app-root": ["/app", "/app/?x=1"],
  "auth-tls-secret": ["shop/clients"],
  "auth-tls-verify-client": ["on", "off", "optional", "optional_no_ca"],
  "auth-type": ["basic", "digest"],
  "auth-url": ["http://10.0.0.1/check", "https://auth.example.test/check"],
  "backend-protocol": ["HTTP", "HTTPS", "GRPC", "GRPCS", "AUTO_HTTP", "FCGI"],
  "custom-headers": ["headers", "shop/headers", "other/headers"],
  "default-backend": ["web", "spare"],
  "from-to-www-redirect": ["true"],
  "load-balance": ["round_robin", "ewma", "least_conn"],
  "client-header-buffer-size": ["1k", "4k"],
  "forwarded-for-header": ["X-Forwarded-For", "CF-Connecting-IP"],
  "large-client-header-buffers": ["4 8k", "8 16k"],
  "proxy-real-ip-cidr": ["10.0.0.0/8", "10.0.0.0/8,192.0.2.1, 2001:db8::/32"],
  "skip-access-log-urls": ["/healthz", "/healthz,/ready?full=1"],
  "ssl-ciphers": ["HIGH:!aNULL:!MD5", "ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES128-GCM-SHA256"],
  "ssl-ecdh-curve": ["auto", "X25519:P-256"],
  "ssl-protocols": ["TLSv1.2", "TLSv1.2 TLSv1.3"],
  "ssl-session-cache-size": ["10m", "1m"],
  "ssl-session-timeout": ["10m", "1d"],
  "upstream-keepalive-time": ["1h", "1h 30m"],
  "worker-shutdown-timeout": ["240s", "1m"],
  "mirror-host": ["copies.example.test:8080", "$host", "[2001:db8::1]"],
  "mirror-request-body": ["on", "off"],
  "mirror-target": [
    "http://10.0.0.1:8080",
    "https://copies.example.test$request_uri",
    "http://copies/$namespace?of=$args",
  ],
  "permanent-redirect": ["https://www.example.test/new?x=1"],
  "proxy-body-size": ["0", "1m", "10g", "1k"],
  "proxy-buffer-size": ["4k", "16k"],
  "proxy-buffers-number": ["2", "4", "64"],
  "proxy-connect-timeout": ["1", "5", "60"],
  "proxy-http-version": ["1.0", "1.1"],
  "proxy-next-upstream": ["error timeout", "off", "http_502 http_503 non_idempotent", "error"],
  "proxy-read-timeout": ["1", "60", "3600"],
  "proxy-ssl-ciphers": ["DEFAULT", "HIGH:!aNULL:!MD5", "ECDHE-RSA-AES128-GCM-SHA256"],
  "proxy-ssl-name": ["shop.example.test"],
  "proxy-ssl-protocols": ["TLSv1.2 TLSv1.3", "TLSv1.2"],
  "proxy-ssl-secret": ["shop/backend"],
  "proxy-ssl-verify": ["on"],
  "auth-secret": ["secret", "shop/secret"],
  "auth-secret-type": ["auth-file", "auth-map"],
  "proxy-ssl-verify-depth": ["1", "3"],
  "rewrite-target": ["/$1", "/new/$1/$2", "/?x=$1", "https://www.example.test/$1"],
  "server-alias": ["www.example.test,*.alias.example.test"],
  "session-cookie-expires": ["3600"],
  "session-cookie-name": ["route"],
  "session-cookie-path": ["/", "/app"],
  "session-cookie-samesite": ["None", "Lax", "Strict"],
  "temporal-redirect": ["https://www.example.test/"],
  // biome-ignore lint/suspicious/noTemplateCurlyInString: a variable of nginx
  "upstream-hash-by": ["$remote_addr", "$request_uri", "$host$http_x_user", "key-${arg_id}"],
  "upstream-vhost": ["shop.example.test", "$service_name.$namespace.svc:80"],
  "use-regex": ["true"],
  "x-forwarded-prefix": ["/app", "/$1"],
};

export function textsFor(name: string): readonly string[] {
  return (Object.hasOwn(OWN, name) ? OWN[name] : undefined) ?? ANY;
}
