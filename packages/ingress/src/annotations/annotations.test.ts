import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { test } from "node:test";
import { decode, Redirect, RoutePath } from "@sluice/contracts";
import fc from "fast-check";
import { filledHost } from "../annotation-values.ts";
import { CLUSTER_WEIGHTS, clusterOrderShapes, FAILOVER, LOCALITY } from "../cluster-order.ts";
import { FIRST_BYTE, firstByteShape } from "../first-byte.ts";
import {
  HEALTH_CHECK,
  MAX_CONNECTIONS,
  PANIC_THRESHOLD,
  peerPolicyShapes,
  SLOW_START,
} from "../peer-policy.ts";
import { defaultSettings, nextUpstreamWords, settingBounds } from "../profile.ts";
import type { Annotation } from "./annotation.ts";
import { groups } from "./groups.ts";
import { routeAnnotations } from "./paths.ts";
import { redirectAnnotations } from "./redirects.ts";
import { refusedAnnotations } from "./refused.ts";
import { settingAnnotations } from "./sizes-and-times.ts";

const page = new URL("../../../../docs/reference/annotations.md", import.meta.url);

/** A row of one of Sluice's own. */
function own<N extends string>(
  name: N,
  shapes: Readonly<Record<N, string>>,
  unsaid: string,
  note: string,
): string {
  return `| \`${name.split("/")[1]}\` | ${shapes[name]} | ${unsaid} | ${note} |`;
}

function render(): string {
  const rows = (all: readonly Pick<Annotation<unknown>, "name" | "shape" | "unsaid" | "note">[]) =>
    all.map((a) => `| \`${a.name}\` | ${a.shape} | ${a.unsaid || "–"} | ${a.note} |`);
  const head = ["| annotation | value | when nothing is said | |", "|---|---|---|---|"];
  return [
    "# Annotations",
    "",
    "What a MultiClusterIngress may say under `nginx.ingress.kubernetes.io/`, with ingress-nginx's meaning. An annotation holds",
    "for every path of its object. An empty value is as good as none. A value of another shape is reported by a Warning Event",
    "(`AnnotationInvalid`) on the object, and what holds when nothing is said holds.",
    "",
    ...Object.values(groups).flatMap(({ title, about, annotations }) => [
      `## ${title}`,
      "",
      ...about,
      "",
      ...head,
      ...rows(annotations),
      "",
    ]),
    "## On a ServiceImport",
    "",
    "Sluice's own, under `sluice.dev/`: a change of them reloads nothing. They hold for every route to that import.",
    "",
    "| annotation | value | when nothing is said | |",
    "|---|---|---|---|",
    "| `from-clusters` | names of clusters with commas between | all clusters | whose exports count |",
    `| \`cluster-weights\` | ${clusterOrderShapes[CLUSTER_WEIGHTS]} | each peer counts | what each cluster gets of all requests, ` +
      "however many peers it has there; a cluster that is not named, or whose weight is 0, gets none while another has peers |",
    `| \`failover\` | ${clusterOrderShapes[FAILOVER]} | all alike | a group is asked while five sevenths of its peers are sound; ` +
      "with fewer it shares with the next, as far as it must; clusters that are not named are the last |",
    own(
      LOCALITY,
      clusterOrderShapes,
      "off",
      "the clusters near a fleet (its `--locality`) go first, as by `failover`, which goes before this",
    ),
    own(
      HEALTH_CHECK,
      peerPolicyShapes,
      "nobody asks",
      "whether peers serve, asked by the proxies themselves: see [health](health.md). " +
        "interval 5s, timeout 1s, misses 2, passes 2, path /, status 200-399 where nothing else is said",
    ),
    own(
      SLOW_START,
      peerPolicyShapes,
      "at once",
      "the share of a peer that is new, or back, grows from a tenth to all of it in that time; " +
        "of one that checks bring back in 10s where nothing is said",
    ),
    own(
      MAX_CONNECTIONS,
      peerPolicyShapes,
      "any number",
      "requests that one proxy has in hand at a peer; where all are full the answer is 503",
    ),
    own(
      PANIC_THRESHOLD,
      peerPolicyShapes,
      "0",
      "where a smaller part of the peers is sound all are asked; 0: where none is",
    ),
    "",
    "## Sluice's own on a MultiClusterIngress",
    "",
    "| annotation | value | when nothing is said | |",
    "|---|---|---|---|",
    `| \`${FIRST_BYTE.split("/")[1]}\` | ${firstByteShape} | as the proxies have it for all (\`--first-byte-timeout\`) | a GET or HEAD ` +
      "that has no answer yet is sent to another cluster; 0: it waits |",
    "",
    "## Refused",
    "",
    "These have no meaning here and will not get one. They are reported (`AnnotationRefused`). Those that protect, and a snippet",
    "that holds deny, allow, `auth_*`, return, `access_by_lua*` or `ssl_verify_client`, close the paths of their object",
    "(`ProtectionRefused`, 503) until they are taken away: serving without them would open what was closed.",
    "",
    "| annotation | why, and what to do instead | protects |",
    "|---|---|---|",
    ...refusedAnnotations.map(
      ({ name, why, protects }) =>
        `| \`${name}\` | ${why} | ${protects("") ? "yes" : protects("deny all;") ? "where it holds what guards" : "no"} |`,
    ),
    "",
    "## All others",
    "",
    "They are not supported yet: ignored and reported (`AnnotationsIgnored`).",
    "",
  ].join("\n");
}

test("docs/reference/annotations.md is made from the table", () => {
  if (process.env["UPDATE_DOCS"] === "1") writeFileSync(page, render());
  assert.equal(readFileSync(page, "utf8"), render());
});

test("what the table says holds when nothing is said is the default", () => {
  for (const { name, unsaid, read } of settingAnnotations) {
    // Ours is a quarter of a second, which ingress-nginx's seconds cannot say.
    if (name === "proxy-connect-timeout") continue;
    const reading = read(unsaid);
    assert.ok(reading.ok, name);
    const [[key, value]] = Object.entries(reading.said) as [[keyof typeof defaultSettings, unknown]];
    assert.equal(value, defaultSettings[key], name);
  }
});

const plain = {
  type: "Prefix",
  path: "/",
  upstream: "web",
  profile: "0",
  source: { kind: "MultiClusterIngress", namespace: "shop", name: "shop" },
};

test("whatever is written, a value is within its bounds or refused", () => {
  const text = fc.oneof(
    fc.string(),
    fc.stringMatching(/^[0-9]{1,16}[bkmgBKMGs]?$/),
    fc.subarray([...nextUpstreamWords, "everything"], { minLength: 1 }).map((words) => words.join(" ")),
    fc.webUrl({ withQueryParameters: true, withFragments: true }),
    fc.webPath(),
    fc.constantFrom(
      "https://$host/",
      "//evil.example.test",
      "/\\\\evil",
      "javascript:alert(1)",
      "https://a b/",
      "/$1/$10?x=$2",
      "/$0",
      "https://$1.example.test/",
      "https://new.example.test/$1",
      "web.shop.svc:80",
      "$service_name-$namespace.svc:80",
      "$service_names",
      "[::1]:99999",
      "$host",
      "a.example.test,*.example.test",
      "~^www\\d+$",
    ),
    fc.constantFrom("on", "off", "1.0", "1.1", "2", "1e3", "-1", "0x10", "٣", "1m; deny all"),
  );
  const limits: Readonly<Record<string, readonly [number, number]>> = {
    ...settingBounds,
    permanentCode: [300, 308],
    temporalCode: [300, 308],
  };
  fc.assert(
    fc.property(
      fc.constantFrom(...settingAnnotations, ...redirectAnnotations, ...routeAnnotations),
      text,
      ({ read }, given) => {
        const reading = read(given);
        if (!reading.ok) return;
        for (const [key, value] of Object.entries(reading.said)) {
          const [min, max] = limits[key] ?? [0, 0];
          if (key === "appRoot" || key === "temporal" || key === "permanent") {
            decode(Redirect, { code: 302, to: value }, key);
            if (key === "appRoot") assert.match(String(value), /^\/(?![/\\])/);
            else assert.match(new URL(String(value)).protocol, /^https?:$/);
          } else if (key === "vhost") {
            // Whatever the backend is called: what comes of it is a Host, or nothing.
            for (const name of ["web", "a b", "x".repeat(300), "$host"]) {
              const vhost = filledHost(String(value), { service_name: name, namespace: "shop" });
              if (vhost !== null) decode(RoutePath, { ...plain, vhost }, key);
            }
          } else if (key === "rewrite" || key === "forwardedPrefix") {
            const where = /^https?:/.test(String(value))
              ? { redirect: { code: 302, to: value } }
              : { [key]: value };
            decode(RoutePath, { ...plain, ...where }, key);
            // All that a $ may begin is a group.
            assert.doesNotMatch(String(value).replaceAll(/\$[1-9]/g, ""), /\$/);
          } else if (key === "aliases") {
            for (const host of value as string[]) assert.match(host, /^(\*\.)?[a-z0-9.-]+$/);
          } else if (typeof value === "number") {
            assert.ok(Number.isInteger(value) && value >= min && value <= max);
          } else if (typeof value === "string") assert.match(value, /^[a-z0-9_. ]+$/);
          else assert.equal(typeof value, "boolean", key);
        }
      },
    ),
    { numRuns: 2000 },
  );
});
