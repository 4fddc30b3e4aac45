import assert from "node:assert/strict";
import { test } from "node:test";
import { Balance, decode, fleetKeys, type RouteRow } from "@sluice/contracts";
import fc from "fast-check";
import { balanceAnnotations } from "./annotations/balancing.ts";
import { buildFleet } from "./build-fleet.ts";

interface Built {
  /** By path. */
  readonly balance: Readonly<Record<string, unknown>>;
  readonly verdicts: readonly string[];
}

/** An object with these annotations, in short names. */
function built(annotations: Readonly<Record<string, string>>, paths: readonly string[] = ["/"]): Built {
  const backend = { service: { name: "web", port: { number: 80 } } };
  const { rows, verdicts } = buildFleet(
    {
      ingresses: [
        {
          metadata: {
            namespace: "shop",
            name: "shop",
            annotations: Object.fromEntries(
              Object.entries(annotations).map(([name, value]) => [
                `nginx.ingress.kubernetes.io/${name}`,
                value,
              ]),
            ),
          },
          spec: {
            ingressClassName: "nginx",
            rules: [
              {
                host: "shop.example.test",
                http: { paths: paths.map((path) => ({ path, pathType: "ImplementationSpecific", backend })) },
              },
            ],
          },
        },
      ],
      imports: [{ metadata: { namespace: "shop", name: "web" }, spec: { ports: [{ port: 80 }] } }],
      classes: [],
      peers: [],
      exported: new Map([["shop/web", new Set([""])]]),
    },
    { fleet: "default", ingressClasses: ["nginx"], watchWithoutClass: false },
  );
  const row = rows.get(fleetKeys.route("default", "shop.example.test")) as RouteRow;
  return {
    balance: Object.fromEntries(row.paths.map(({ path, balance }) => [path, balance])),
    verdicts: verdicts.map(({ reason, message }) => `${reason} ${message}`),
  };
}

const braced = (name: string) => `\${${name}}`;
const cookie = { name: "INGRESSCOOKIE", path: "/" };

for (const [annotations, balance] of [
  [{}, undefined],
  [{ "load-balance": "round_robin" }, undefined],
  [{ "load-balance": "ewma" }, { method: "ewma" }],
  [{ "load-balance": "least_conn" }, { method: "least_conn" }],
  [{ "upstream-hash-by": "$request_uri" }, { method: "hash", by: [{ variable: "request_uri" }] }],
  [
    { "upstream-hash-by": `${braced("request_uri")}-x$Host$arg_user` },
    {
      method: "hash",
      by: [{ variable: "request_uri" }, { text: "-x" }, { variable: "host" }, { variable: "arg_user" }],
    },
  ],
  [{ affinity: "cookie" }, { method: "cookie", cookie }],
  [
    { affinity: "cookie", "upstream-hash-by": "$host" },
    { method: "cookie", cookie },
  ],
  [
    { "load-balance": "ewma", "upstream-hash-by": "$host" },
    { method: "hash", by: [{ variable: "host" }] },
  ],
  [{ "affinity-mode": "persistent", "session-cookie-name": "S" }, undefined],
  [
    {
      affinity: "cookie",
      "affinity-mode": "persistent",
      "session-cookie-name": "route",
      "session-cookie-max-age": "3600",
      "session-cookie-expires": "7200",
      "session-cookie-path": "/shop",
      "session-cookie-domain": ".example.test",
      "session-cookie-samesite": "lax",
      "session-cookie-secure": "true",
      "session-cookie-change-on-failure": "true",
    },
    {
      method: "cookie",
      cookie: {
        name: "route",
        path: "/shop",
        persistent: true,
        changeOnFailure: true,
        maxAge: 3600,
        expires: 7200,
        domain: ".example.test",
        sameSite: "Lax",
        secure: true,
      },
    },
  ],
  [
    { affinity: "cookie", "session-cookie-secure": "false" },
    { method: "cookie", cookie: { ...cookie, secure: false } },
  ],
] as const) {
  test(`${JSON.stringify(annotations)} balances by ${JSON.stringify(balance) ?? "turns"}`, () => {
    assert.deepEqual(built(annotations), { balance: { "/": balance }, verdicts: [] });
  });
}

test("a session's cookie is for the path of its rule, and for all where that is a regular expression", () => {
  const paths = (of: Built) =>
    Object.values(of.balance).map((each) => (each as { cookie: { path: string } }).cookie.path);
  assert.deepEqual(paths(built({ affinity: "cookie" }, ["/a", "/b/c"])), ["/a", "/b/c"]);
  assert.deepEqual(paths(built({ affinity: "cookie", "use-regex": "true" }, ["/a/(.*)"])), ["/"]);
  assert.deepEqual(paths(built({ affinity: "cookie" }, ["/a;b"])), ["/"]);
});

test("what is of no shape is reported, and peers take turns", () => {
  for (const [name, value] of [
    ["load-balance", "ip_hash"],
    ["upstream-hash-by", "request_uri"],
    ["upstream-hash-by", "$request_uri$unknown"],
    ["upstream-hash-by", "$request_uri; deny all"],
    ["upstream-hash-by", "$"],
    ["upstream-hash-by", "$host\n$uri"],
    ["upstream-hash-by", "${host"],
    ["affinity", "ip"],
  ] as const) {
    const { balance, verdicts } = built({ [name]: value });
    if (value === "$request_uri; deny all") {
      // Text is text: it goes into a key and nowhere else.
      assert.deepEqual(verdicts, []);
      continue;
    }
    assert.deepEqual(balance, { "/": undefined }, value);
    assert.equal(verdicts.length, 1);
    assert.match(verdicts[0] ?? "", new RegExp(`^AnnotationInvalid metadata.annotations.*${name}`));
  }
});

test("a path that redirects is not balanced", () => {
  const { balance } = built({ affinity: "cookie", "permanent-redirect": "https://new.example.test/" });
  assert.deepEqual(balance, { "/": undefined });
});

test("whatever is written, what comes of it is a balance that the fleet's readers take", () => {
  const value = fc.oneof(
    fc.string({ maxLength: 40, unit: "binary" }),
    fc.stringMatching(/^[$a-z_{}0-9./; -]{0,60}$/),
    fc
      .array(
        fc.constantFrom(
          "$request_uri",
          braced("uri"),
          "$http_x_user",
          "$cookie_a",
          "$arg_b",
          "$1",
          "$x",
          "-",
          "é",
        ),
        { maxLength: 40 },
      )
      .map((parts) => parts.join("")),
    fc.constantFrom(
      "cookie",
      "persistent",
      "ewma",
      "None",
      "lax",
      "0",
      "-1",
      "99999999999",
      "a".repeat(300),
      "/a;b",
      "a b",
    ),
  );
  const names = balanceAnnotations.map(({ name }) => name);
  const some = fc.dictionary(fc.constantFrom(...names), value, { maxKeys: 6 });
  fc.assert(
    fc.property(some, fc.boolean(), (given, affinity) => {
      const { balance } = built(affinity ? { ...given, affinity: "cookie" } : given);
      for (const each of Object.values(balance)) {
        if (each === undefined) continue;
        const { method, by = [], cookie: said } = decode(Balance, each, "balance");
        assert.ok(["ewma", "least_conn", "hash", "cookie"].includes(method));
        assert.equal(by.length > 0, method === "hash");
        assert.equal(said !== undefined, method === "cookie");
      }
    }),
    { numRuns: 500 },
  );
});
