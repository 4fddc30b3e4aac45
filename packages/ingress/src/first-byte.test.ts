import assert from "node:assert/strict";
import { test } from "node:test";
import type { ProfileRow, RouteRow } from "@sluice/contracts";
import { buildFleet } from "./build-fleet.ts";

function built(annotations: Readonly<Record<string, string>>) {
  const backend = { service: { name: "web", port: { number: 80 } } };
  const paths = [{ path: "/", pathType: "Prefix", backend }];
  const { rows, verdicts } = buildFleet(
    {
      ingresses: [
        {
          metadata: { namespace: "shop", name: "web", annotations },
          spec: { ingressClassName: "nginx", rules: [{ host: "shop.example.test", http: { paths } }] },
        },
      ],
      imports: [{ metadata: { namespace: "shop", name: "web" }, spec: { ports: [{ port: 80 }] } }],
      classes: [],
      peers: [],
      exported: new Map(),
    },
    { fleet: "default", ingressClasses: ["nginx"], watchWithoutClass: false },
  );
  const route = [...rows.values()].find((row): row is RouteRow => "host" in row);
  const profiles = [...rows.values()].filter((row): row is ProfileRow => "settings" in row);
  return {
    firstByteMs: route?.paths[0]?.firstByteMs,
    settings: profiles.find(({ hash }) => hash === route?.paths[0]?.profile)?.settings,
    said: verdicts.map(({ reason, message }) => `${reason} ${message}`),
  };
}

test("an object says how long its paths wait for a first byte, as data that needs no location of its own", () => {
  assert.deepEqual(built({}), { firstByteMs: undefined, settings: {}, said: [] });
  for (const [text, firstByteMs] of [
    ["500ms", 500],
    ["2s", 2000],
    ["0", 0],
  ] as const) {
    const found = built({ "sluice.dev/first-byte-timeout": text });
    assert.deepEqual(found, { firstByteMs, settings: {}, said: [] }, text);
  }
});

test("all tries together get twice a long limit, unless it is said how much they get", () => {
  const limit = { "sluice.dev/first-byte-timeout": "10s" };
  assert.deepEqual(built(limit).settings, { nextTimeoutMs: 20_000 });
  const said = built({ ...limit, "nginx.ingress.kubernetes.io/proxy-next-upstream-timeout": "7" });
  assert.deepEqual(said.settings, { nextTimeoutMs: 7000 });
});

test("what is no time is told and as if it were not there", () => {
  for (const text of ["5", "-1s", "2m", "1s; deny all", "1.5s"]) {
    const { firstByteMs, said } = built({ "sluice.dev/first-byte-timeout": text });
    assert.equal(firstByteMs, undefined, text);
    assert.equal(said.length, 1);
    assert.match(
      said[0] ?? "",
      /^AnnotationInvalid metadata\.annotations\[sluice\.dev\/first-byte-timeout\]/,
    );
  }
});
