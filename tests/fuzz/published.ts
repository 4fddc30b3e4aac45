/** An input of a published vulnerability of ingress-nginx, or of the kind that it let through. */
export interface PublishedInput {
  readonly cve: string;
  /** What it tried. */
  readonly tried: string;
  /** `path`, `host`, `tls`, or an annotation behind `nginx.ingress.kubernetes.io/`. */
  readonly at: string;
  readonly text: string;
  /** It is taken as it is, and harms nobody: what it means here. */
  readonly taken?: string;
}

const TOKEN = "/var/run/secrets/kubernetes.io/serviceaccount/token";

/**
 * What was published of 2021 to 2026 (the Kubernetes CVE feed; issues of kubernetes/ingress-nginx and
 * kubernetes/kubernetes). Texts are ours: each does what the advisory tells.
 */
export const published: readonly PublishedInput[] = [
  {
    cve: "CVE-2021-25742",
    tried: "a snippet with Lua that reads the controller's token",
    at: "configuration-snippet",
    text: `content_by_lua_block { ngx.print(io.open("${TOKEN}"):read("*a")) }`,
  },
  {
    cve: "CVE-2021-25742",
    tried: "a server snippet that serves the controller's files",
    at: "server-snippet",
    text: "location /leak { alias /var/run/secrets/kubernetes.io/; autoindex on; }",
  },
  {
    cve: "CVE-2021-25745",
    tried: "a path that closes its location and points another one to the token's file",
    at: "path",
    text: `/x { alias ${TOKEN}; } location /y`,
  },
  {
    cve: "CVE-2021-25745",
    tried: "a path that is the token's file",
    at: "path",
    text: "/var/run/secrets/kubernetes.io/serviceaccount/",
    taken: "a path like any other: no path names a file here",
  },
  {
    cve: "CVE-2021-25746",
    tried: "an annotation's value that ends its directive",
    at: "auth-realm",
    text: `x"; alias ${TOKEN}; #`,
  },
  {
    cve: "CVE-2021-25746",
    tried: "the same by a header's name",
    at: "upstream-vhost",
    text: `x; } location /leak { root /; autoindex on; } location /z { #`,
  },
  {
    cve: "CVE-2021-25748",
    tried: "a newline in a path, which the check of the path did not look behind",
    at: "path",
    text: `/x\n{ alias ${TOKEN}; } location /y`,
  },
  {
    cve: "CVE-2022-4886",
    tried: "a path with directives that the list of refused words did not name",
    at: "path",
    text: '/x" { } } log_format leak "$request_body"; server { location "/y',
  },
  {
    cve: "CVE-2023-5043",
    tried: "a snippet that runs a command",
    at: "configuration-snippet",
    text: 'more_set_headers "X: y"; } location /run { content_by_lua_block { os.execute("id") } ',
  },
  {
    cve: "CVE-2023-5044",
    tried: "a redirect's target that ends its directive",
    at: "permanent-redirect",
    text: 'https://www.example.test/;}location ~* "^/run"{content_by_lua_block{ngx.say(io.popen("id"):read("*a"))}}location ~* "^/x"{',
  },
  {
    cve: "CVE-2024-7646",
    tried: "a carriage return, behind which the check of an annotation did not look",
    at: "proxy-cookie-path",
    text: "/x\r; alias /etc/passwd; #",
  },
  {
    cve: "CVE-2024-7646",
    tried: "the same in a rewrite's target",
    at: "rewrite-target",
    text: "/$1\r\nreturn 200 leaked;\r\n#",
  },
  {
    cve: "CVE-2025-1097",
    tried: "a pattern of a client certificate's name that ends its condition",
    at: "auth-tls-match-cn",
    text: 'CN=abc #(\n){}\n }}\nssl_engine "../../../../../proc/1/fd/1";\n#',
  },
  {
    cve: "CVE-2025-1098",
    tried: "a mirror's target that ends its directive",
    at: "mirror-target",
    text: "http://mirror.example.test/#;\n\n}\n\n}\n\n}\n\nssl_engine /proc/1/fd/1;",
  },
  {
    cve: "CVE-2025-1098",
    tried: "a mirror's host that ends its directive",
    at: "mirror-host",
    text: 'mirror.example.test";\n}\n}\nload_module /tmp/x.so;\n#',
  },
  {
    cve: "CVE-2025-1974",
    tried: "a library of the attacker's, loaded while the configuration is tested",
    at: "auth-url",
    text: "http://auth.example.test/#;\n}\n}\nssl_engine /proc/32/fd/9;\n#",
  },
  {
    cve: "CVE-2025-24513",
    tried: "a file of another folder by the name of a Secret",
    at: "auth-secret",
    text: "../../../../../etc/passwd",
  },
  {
    cve: "CVE-2025-24513",
    tried: "the same for a backend's certificate",
    at: "proxy-ssl-secret",
    text: "shop/../../../../etc/nginx/x",
  },
  {
    cve: "CVE-2025-24514",
    tried: "an auth-url that ends its directive",
    at: "auth-url",
    text: 'http://auth.example.test/#";}}}\nload_module "/tmp/x.so";\n#',
  },
  {
    cve: "CVE-2025-15566",
    tried: "headers for an auth service that end their directive",
    at: "auth-proxy-set-headers",
    text: 'shop/headers"; alias /etc/; #',
  },
  {
    cve: "CVE-2026-1580",
    tried: "a method for an auth service that ends its directive",
    at: "auth-method",
    text: "GET;\n}\nlocation /leak { alias /; }\nlocation /z {#",
  },
  {
    cve: "CVE-2026-24512",
    tried: "a path of type ImplementationSpecific that ends its quotes",
    at: "path",
    text: '/x" { } location /leak { alias /; autoindex on; } location "/y',
  },
  {
    cve: "CVE-2026-24513",
    tried: "an answer 401 of an auth service that becomes a page, and with it a way in",
    at: "custom-http-errors",
    text: "401,403",
    taken: "whoever is refused is shown the default backend's page; the peer is not asked",
  },
  {
    cve: "CVE-2026-24514",
    tried: "an object so large that whoever judges it runs out of memory",
    at: "configuration-snippet",
    text: "#".repeat(200_000),
  },
  {
    cve: "CVE-2026-3288",
    tried: "a rewrite's target that ends its quotes",
    at: "rewrite-target",
    text: '/" break; content_by_lua_block { os.execute("id") } #',
  },
  {
    cve: "CVE-2026-4342",
    tried: "a comment that ends with the line, in one annotation of several that are put together",
    at: "path",
    text: "/x#\n}\nlocation /leak { alias /; }\n#",
  },
  {
    cve: "CVE-2026-4342",
    tried: "the same by two annotations",
    at: "x-forwarded-prefix",
    text: '"\n;} location /leak { alias /; } #',
  },
];
