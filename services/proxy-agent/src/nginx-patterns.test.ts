// Regular expressions of users: what the model lets through, PCRE must take and hold to its bound.
import assert from "node:assert/strict";
import { test } from "node:test";
import type { RouteRow } from "@sluice/contracts";
import { buildFleet } from "@sluice/ingress";
import fc from "fast-check";
import { type NginxRow, pathEntry } from "./nginx-row.ts";
import { peersRow, testNginx, testPod } from "./testing/proxy-world.ts";

/** The route row of one host whose paths are these, as its object asks for regular expressions or not. */
function rowOf(host: string, paths: readonly string[], regex: boolean): NginxRow {
  const backend = { service: { name: "web", port: { number: 80 } } };
  const annotations: Record<string, string> = regex
    ? { "nginx.ingress.kubernetes.io/use-regex": "true" }
    : {};
  // What was written as plain text beside an expression is one too.
  const beside = { path: "/beside", pathType: "Exact", backend };
  const object = (name: string, of: Record<string, string>, listed: readonly unknown[]) => ({
    metadata: { namespace: "shop", name, annotations: of },
    spec: { ingressClassName: "nginx", rules: [{ host, http: { paths: listed } }] },
  });
  const { rows } = buildFleet(
    {
      ingresses: [
        object(
          "asked",
          annotations,
          paths.map((path) => ({ path, pathType: "Prefix", backend })),
        ),
        object("beside", { "nginx.ingress.kubernetes.io/use-regex": "true" }, [beside]),
      ],
      imports: [{ metadata: { namespace: "shop", name: "web" }, spec: { ports: [{ port: 80 }] } }],
      classes: [],
      peers: [],
      exported: new Map(),
    },
    { fleet: "default", ingressClasses: ["nginx"], watchWithoutClass: false },
  );
  const route = [...rows.values()].find((row): row is RouteRow => "host" in row);
  assert.ok(route !== undefined);
  return { k: "route", host, paths: route.paths.map((path) => pathEntry(path, "default")) };
}

const piece = fc.constantFrom(
  ...[
    "a",
    "b",
    "-",
    "]",
    "[",
    "[^",
    "(",
    ")",
    "(?:",
    "(?=",
    "(?!",
    "(?<=",
    "(?>",
    "(?i)",
    "(?<n>",
    "(?P<n>",
    "(?R)",
  ],
  ...[
    "(*F)",
    "(?#",
    "|",
    "*",
    "+",
    "?",
    "{2}",
    "{2,}",
    "{2,1}",
    "{,3}",
    "{1000}",
    "{",
    "}",
    "^",
    "$",
    ".",
    "/",
  ],
  ...[
    "\\d",
    "\\1",
    "\\K",
    "\\",
    "\\x41",
    "\\Q",
    "\\b",
    "[:alpha:]",
    "[[:alpha:]]",
    "[a-z]",
    "[z-a]",
    "[\\d-z]",
    "é",
    " ",
  ],
);
const expression = fc.array(piece, { maxLength: 10 }).map((pieces) => `/${pieces.join("")}`);

test("whatever expression the model lets through, nginx can compile", async (t) => {
  const nginx = await testNginx(t, { workers: 1 });
  let seen = 0;
  await fc.assert(
    fc.asyncProperty(
      fc.array(expression, { minLength: 200, maxLength: 200 }),
      fc.boolean(),
      async (paths, regex) => {
        const row = rowOf("shop.example.test", paths, regex);
        assert.ok(row.k === "route" && !("del" in row));
        seen += row.paths.length;
        await nginx.apply(row);
      },
    ),
    { numRuns: 20 },
  );
  assert.ok(seen > 400, `${seen} expressions are no test`);
});

test("a plain path beside an expression that cannot be one stands for itself", async (t) => {
  const nginx = await testNginx(t, { workers: 1 });
  const pod = await testPod(t, "127.25.70.1", "web");
  const paths = ["/a(b", "/a[1", "/(*F)c", "/\\1", "/x{2}{3}"];
  await nginx.apply(peersRow("shop-web", "member1", pod), rowOf("shop.example.test", paths, false));
  for (const path of paths) assert.equal((await nginx.get(encodeURI(path))).body, "web", path);
  for (const path of ["/ab", "/c", "/1", "/xx"]) assert.equal((await nginx.get(path)).status, 404, path);
});
