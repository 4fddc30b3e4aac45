import assert from "node:assert/strict";
import { test } from "node:test";
import type { RouteRow } from "@sluice/contracts";
import { buildFleet } from "./build-fleet.ts";
import { ReadSecret } from "./secret.ts";

const ingress = {
  metadata: {
    name: "web",
    namespace: "shop",
    annotations: {
      "nginx.ingress.kubernetes.io/auth-type": "basic",
      "nginx.ingress.kubernetes.io/auth-secret": "who",
      "nginx.ingress.kubernetes.io/default-backend": "web",
    },
  },
  spec: {
    ingressClassName: "nginx",
    rules: [
      {
        host: "web.example.test",
        http: {
          paths: [
            { path: "/", pathType: "Prefix", backend: { service: { name: "web", port: { number: 80 } } } },
          ],
        },
      },
    ],
  },
};

const holding = (data: Record<string, string>): ReadSecret =>
  new ReadSecret({
    metadata: { name: "who", namespace: "shop" },
    data: Object.fromEntries(
      Object.entries(data).map(([key, text]) => [key, Buffer.from(text).toString("base64")]),
    ),
  });

/** @param who undefined: nobody could look at the Secret */
function served(who: ReadSecret | null | undefined, servesTls = true) {
  const { rows, secrets, verdicts } = buildFleet(
    {
      ingresses: [ingress],
      imports: [{ metadata: { name: "web", namespace: "shop" }, spec: { ports: [{ port: 80 }] } }],
      classes: [],
      peers: [],
      exported: new Map(),
      secrets: new Map(who === undefined ? [] : [["shop/who", who]]),
    },
    { fleet: "default", ingressClasses: ["nginx"], watchWithoutClass: false, servesTls },
  );
  const [path] = (rows.get("default.routes.web_example_test") as RouteRow).paths;
  return {
    upstream: path?.upstream,
    spare: path?.spare,
    problem: path?.problem ?? "",
    row: [...secrets.values()].map(({ kind }) => kind),
    reasons: verdicts.map(({ reason }) => reason),
  };
}

test("a path whose users are there is served, and proxies get them", () => {
  const { upstream, row, reasons } = served(holding({ auth: "jane:hash" }));
  assert.deepEqual({ upstream, row, reasons }, { upstream: "shop-web", row: ["row"], reasons: [] });
});

test("a path whose users cannot be had is closed, whoever else would stand in, and the object is told why", () => {
  for (const [who, why] of [
    [null, /auth-secret\]: Secret shop\/who is missing; create it/],
    [holding({ other: "jane:hash" }), /auth-secret\]: Secret shop\/who cannot be used: it has no auth/],
  ] as const) {
    const { upstream, spare, problem, reasons } = served(who);
    assert.deepEqual(
      { upstream, spare, reasons },
      { upstream: null, spare: undefined, reasons: ["ProtectionRefused"] },
    );
    assert.match(problem, why);
  }
});

test("while nobody can look, the path stays as it is: a proxy lets nobody in without the row", () => {
  const { upstream, row, reasons } = served(undefined);
  assert.deepEqual({ upstream, row, reasons }, { upstream: "shop-web", row: ["unknown"], reasons: [] });
});

test("without a key to seal for, nobody comes in", () => {
  const { upstream, problem, reasons } = served(undefined, false);
  assert.deepEqual({ upstream, reasons }, { upstream: null, reasons: ["ProtectionRefused"] });
  assert.match(problem, /--fleet-key/);
});
