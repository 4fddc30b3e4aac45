import assert from "node:assert/strict";
import { test } from "node:test";
import type { RouteRow } from "@sluice/contracts";
import { type TrialCertificate, trialCertificate } from "@sluice/native-tools/testing";
import fc from "fast-check";
import { buildFleet, type World } from "./build-fleet.ts";
import { FleetModel, type FleetOptions } from "./fleet-model.ts";
import type { MultiClusterIngress } from "./objects.ts";
import { ReadSecret } from "./secret.ts";
import { webIngress } from "./testing/web-ingress.ts";

const DAY_MS = 86_400_000;
const NOW = Date.parse("2026-06-01T00:00:00Z");
const between = (from: number, to: number) => ({
  notBefore: new Date(NOW + from * DAY_MS),
  notAfter: new Date(NOW + to * DAY_MS),
});

const web = await trialCertificate({ names: ["web.example.test"], ...between(-1, 90) });
const wild = await trialCertificate({ names: ["*.example.test"], ...between(-1, 90) });
const both = await trialCertificate({
  names: ["web.example.test", "www.web.example.test"],
  ...between(-1, 90),
});
const soon = await trialCertificate({ names: ["web.example.test"], ...between(-77, 13) });
const short = await trialCertificate({ names: ["web.example.test"], ...between(-1, 2) });
const ending = await trialCertificate({ names: ["web.example.test"], ...between(-2.5, 0.5) });
const ended = await trialCertificate({ names: ["web.example.test"], ...between(-9, -1) });
const early = await trialCertificate({ names: ["web.example.test"], ...between(1, 90) });

const base64 = (text: string) => Buffer.from(text).toString("base64");

function secret(name: string, data: Readonly<Record<string, string>>, namespace = "shop"): ReadSecret {
  const encoded = Object.fromEntries(Object.entries(data).map(([field, text]) => [field, base64(text)]));
  return new ReadSecret({
    metadata: { name, namespace, uid: `u-${name}`, resourceVersion: "7" },
    data: encoded,
  });
}

const tls = (name: string, { cert, key }: TrialCertificate) =>
  secret(name, { "tls.crt": cert, "tls.key": key });

const options: FleetOptions = {
  fleet: "default",
  ingressClasses: ["nginx"],
  watchWithoutClass: false,
  servesTls: true,
};

const webImport = {
  metadata: { name: "web", namespace: "shop" },
  spec: { type: "ClusterSetIP", ports: [{ port: 80 }] },
};

function world(
  ingresses: readonly MultiClusterIngress[],
  secrets: Readonly<Record<string, ReadSecret | null>> = {},
): World {
  const named = Object.entries(secrets).map(([name, value]) => [`shop/${name}`, value] as const);
  return {
    ingresses,
    imports: [webImport],
    classes: [],
    peers: [],
    exported: new Map(),
    secrets: new Map(named),
    now: NOW,
  };
}

/** By host: the certificate, and `path http` or `path https` for each path. */
function shown(built: ReturnType<typeof buildFleet>): Record<string, string[]> {
  const found: Record<string, string[]> = {};
  for (const [key, row] of built.rows) {
    if (!key.startsWith("default.routes.")) continue;
    const { host, certificate, paths } = row as RouteRow;
    found[host] = [
      certificate ?? "default",
      ...paths.map((path) => `${path.path} ${path.httpsOnly ? "https" : "http"}`),
    ];
  }
  return found;
}

const said = ({ verdicts }: ReturnType<typeof buildFleet>) =>
  verdicts.map(({ object, reason }) => `${object.name} ${reason}`);

const entry = (secretName: string, ...hosts: string[]) => ({ secretName, hosts });

test("a host is shown the Secret of the entry that names it, and sends who comes in clear to https", () => {
  const built = buildFleet(
    world(
      [
        webIngress({
          hosts: ["web.example.test"],
          tls: [entry("no", "no.test"), entry("web", "WEB.example.test")],
        }),
      ],
      {
        web: tls("web", web),
      },
    ),
    options,
  );
  assert.deepEqual(shown(built), { "web.example.test": ["shop-web-tls", "/ https"] });
  assert.deepEqual(said(built), []);
  const want = built.secrets.get("shop-web-tls");
  assert.ok(want?.kind === "row");
  assert.equal(want.contents.chain, web.cert);
  assert.equal(want.contents.version, "u-web/7");
  assert.deepEqual(want.contents.sealed?.reveal(), { key: web.key });
});

test("a host that no entry names is shown the first certificate that is for it, else the default one", () => {
  const ingress = webIngress({
    hosts: ["a.example.test", "b.c.example.test"],
    tls: [entry("web", "web.example.test"), entry("wild", "*.example.test")],
  });
  const built = buildFleet(world([ingress], { web: tls("web", web), wild: tls("wild", wild) }), options);
  assert.deepEqual(shown(built), {
    "a.example.test": ["shop-wild-tls", "/ https"],
    "b.c.example.test": ["default", "/ https"],
  });
  assert.deepEqual(said(built), ["web CertificateForAnotherName"]);
});

test("of several objects with TLS for one host the oldest decides", () => {
  const hosts = ["web.example.test"];
  const ingresses = [
    webIngress({ name: "young", hosts, year: 2026, path: "/y", tls: [entry("web", ...hosts)] }),
    webIngress({ name: "old", hosts, year: 2024, path: "/o", tls: [entry("wild", ...hosts)] }),
    webIngress({ name: "without", hosts, year: 2020 }),
  ];
  const built = buildFleet(world(ingresses, { web: tls("web", web), wild: tls("wild", wild) }), options);
  assert.deepEqual(shown(built), {
    "web.example.test": ["shop-wild-tls", "/ https", "/o https", "/y https"],
  });
});

test("a host without TLS below a wildcard host with TLS is shown that one's, and nobody else is", () => {
  const ingresses = [
    webIngress({ name: "wild", hosts: ["*.example.test"], tls: [entry("wild", "*.example.test")] }),
    webIngress({ name: "plain", hosts: ["a.example.test", "a.b.example.test", "example.test"] }),
  ];
  const built = buildFleet(world(ingresses, { wild: tls("wild", wild) }), options);
  assert.deepEqual(shown(built), {
    "*.example.test": ["shop-wild-tls", "/ https"],
    "a.example.test": ["shop-wild-tls", "/ https"],
    "a.b.example.test": ["default", "/ http"],
    "example.test": ["default", "/ http"],
  });
});

const one = (...names: string[]) => [
  webIngress({ hosts: ["web.example.test"], tls: names.map((name) => entry(name, "web.example.test")) }),
];

test("what is wrong with a Secret is said on the object, and the host is served", () => {
  const crt = { "tls.crt": web.cert };
  const cases: Record<string, [ReadSecret | null, string, string | undefined]> = {
    missing: [null, "SecretMissing", "shop-web-tls"],
    "without a key": [secret("web", crt), "SecretInvalid", "shop-web-tls"],
    "with another's key": [secret("web", { ...crt, "tls.key": wild.key }), "SecretInvalid", "shop-web-tls"],
    "that is no PEM": [secret("web", { "tls.crt": "x", "tls.key": "y" }), "SecretInvalid", "shop-web-tls"],
    huge: [secret("web", { ...crt, "tls.key": web.key.padStart(600_000) }), "SecretInvalid", "shop-web-tls"],
    "for another name": [
      tls("web", { cert: wild.cert, key: wild.key }),
      "CertificateForAnotherName",
      undefined,
    ],
  };
  for (const [name, [held, reason, certificate]] of Object.entries(cases)) {
    const host = name === "for another name" ? "web.other.test" : "web.example.test";
    const built = buildFleet(
      world([webIngress({ hosts: [host], tls: [entry("web", host)] })], { web: held }),
      options,
    );
    assert.deepEqual(shown(built), { [host]: [certificate ?? "default", "/ https"] }, name);
    assert.deepEqual(said(built), [`web ${reason}`], name);
    assert.match(built.verdicts[0]?.message ?? "", /^spec\.tls\[0\]\.secretName: Secret shop\/web /, name);
    assert.ok(!JSON.stringify(built.verdicts).includes(web.key.split("\n")[1] as string), name);
  }
});

test("a Secret of another namespace is refused by name, and an entry without one means the default certificate", () => {
  const built = buildFleet(world(one("other/web")), options);
  assert.deepEqual(shown(built), { "web.example.test": ["default", "/ https"] });
  assert.deepEqual(said(built), ["web SecretInvalid"]);
  assert.match(built.verdicts[0]?.message ?? "", /another namespace.*copy it to namespace shop/);
  const bare = buildFleet(
    world([webIngress({ hosts: ["web.example.test"], tls: [{ hosts: ["web.example.test"] }] })]),
    options,
  );
  assert.deepEqual(shown(bare), { "web.example.test": ["default", "/ https"] });
  assert.deepEqual(said(bare), []);
});

test("while nobody can read Secrets, routes name them as if they were there", () => {
  const built = buildFleet(world(one("web")), options);
  assert.deepEqual(shown(built), { "web.example.test": ["shop-web-tls", "/ https"] });
  assert.equal(built.secrets.get("shop-web-tls")?.kind, "unknown");
  assert.deepEqual(said(built), []);
});

test("a certificate that time has made wrong is shown all the same, and said", () => {
  for (const [held, reason] of [
    [soon, "CertificateExpiring"],
    [ending, "CertificateExpiring"],
    [ended, "CertificateExpired"],
    [early, "CertificateNotYetValid"],
  ] as const) {
    const built = buildFleet(world(one("web"), { web: tls("web", held) }), options);
    assert.deepEqual(shown(built), { "web.example.test": ["shop-web-tls", "/ https"] });
    assert.deepEqual(said(built), [`web ${reason}`]);
  }
  assert.deepEqual(said(buildFleet(world(one("web"), { web: tls("web", short) }), options)), []);
});

test("time alone brings and takes what is said of a certificate", () => {
  const model = new FleetModel(options);
  model.setIngress(one("web")[0] as MultiClusterIngress);
  model.setSecret("shop/web", tls("web", web));
  model.setNow(NOW);
  const reasons = () => [...model.settle().verdicts.values()].map((all) => all.map(({ reason }) => reason));
  assert.deepEqual(reasons(), [["ImportMissing"]]);
  assert.equal(model.setNow(NOW + 75 * DAY_MS), false);
  assert.equal(model.setNow(NOW + 77 * DAY_MS), true);
  assert.deepEqual(reasons(), [["CertificateExpiring", "ImportMissing"]]);
  assert.equal(model.setNow(NOW + 91 * DAY_MS), true);
  assert.deepEqual(reasons(), [["CertificateExpired", "ImportMissing"]]);
  assert.deepEqual([...model.certificateEnds()], [["shop/web", NOW + 90 * DAY_MS]]);
});

test("ssl-redirect and force-ssl-redirect mean what they do in ingress-nginx", () => {
  const of = (annotations: Record<string, string>, withTls: boolean, path = "/") =>
    shown(
      buildFleet(
        world(
          [
            webIngress({
              hosts: ["web.example.test"],
              path,
              annotations,
              ...(withTls ? { tls: [entry("web")] } : {}),
            }),
          ],
          {
            web: tls("web", web),
          },
        ),
        options,
      ),
    )["web.example.test"]?.[1]?.split(" ")[1];
  assert.equal(of({}, true), "https");
  assert.equal(of({}, false), "http");
  assert.equal(of({ "ssl-redirect": "false" }, true), "http");
  assert.equal(of({ "force-ssl-redirect": "true" }, false), "https");
  assert.equal(of({ "ssl-redirect": "false", "force-ssl-redirect": "true" }, true), "https");
  for (const annotations of [{}, { "force-ssl-redirect": "true" }] as Record<string, string>[]) {
    assert.equal(of(annotations, true, "/.well-known/acme-challenge/token"), "http");
  }
});

test("another name of a host has its certificate where that is for the name, too", () => {
  const annotations = { "server-alias": "www.web.example.test,b.example.test" };
  const built = buildFleet(
    world(
      [webIngress({ hosts: ["web.example.test"], tls: [entry("both", "web.example.test")], annotations })],
      {
        both: tls("both", both),
      },
    ),
    options,
  );
  assert.deepEqual(shown(built), {
    "web.example.test": ["shop-both-tls", "/ https"],
    "www.web.example.test": ["shop-both-tls", "/ https"],
    "b.example.test": ["default", "/ http"],
  });
  const www = buildFleet(
    world(
      [
        webIngress({
          hosts: ["web.example.test"],
          tls: [entry("both", "web.example.test")],
          annotations: { "from-to-www-redirect": "true" },
        }),
      ],
      { both: tls("both", both) },
    ),
    options,
  );
  assert.equal(shown(www)["www.web.example.test"]?.[0], "shop-both-tls");
});

test("the default certificate stands in the row of no host, be that row there for it alone", () => {
  const withDefault = { ...options, defaultCertificate: { namespace: "shop", name: "wild" } };
  const built = buildFleet(world([], { wild: tls("wild", wild) }), withDefault);
  assert.deepEqual(shown(built), { "": ["shop-wild-tls"] });
  assert.equal(built.secrets.get("shop-wild-tls")?.kind, "row");
  // Objects without a host do not change what strangers are shown.
  const all = buildFleet(
    world([webIngress({ hosts: [""], tls: [entry("web", "")] })], { web: tls("web", web) }),
    withDefault,
  );
  assert.deepEqual(shown(all), { "": ["shop-wild-tls", "/ http"] });
});

test("without a key to seal for nothing of a Secret is asked for, and that is said", () => {
  const built = buildFleet(world(one("web"), { web: tls("web", web) }), { ...options, servesTls: false });
  assert.deepEqual(shown(built), { "web.example.test": ["default", "/ http"] });
  assert.deepEqual(said(built), ["web TlsNotServed"]);
  assert.match(built.verdicts[0]?.message ?? "", /--fleet-key/);
  assert.equal(built.secrets.size, 0);
});

test("a Secret is named from the first object that does to the last", () => {
  const model = new FleetModel(options);
  const [a, b] = [
    webIngress({ name: "a", hosts: ["a.test"], tls: [entry("web")] }),
    webIngress({ name: "b", hosts: ["b.test"], tls: [entry("web")] }),
  ];
  model.setIngress(a);
  assert.deepEqual([...model.settle().named], [["shop/web", true]]);
  model.setIngress(b);
  model.removeIngress("shop/a");
  assert.deepEqual([...model.settle().named], [["shop/web", true]]);
  model.removeIngress("shop/b");
  const { named, secrets } = model.settle();
  assert.deepEqual([...named], [["shop/web", false]]);
  assert.deepEqual([...secrets], [["shop-web-tls", null]]);
});

test("a row goes when no route needs it, and changes when the Secret does", () => {
  const model = new FleetModel(options);
  model.setImport(webImport);
  model.setIngress(one("web")[0] as MultiClusterIngress);
  const kinds = () => [...model.settle().secrets].map(([id, want]) => `${id} ${want?.kind ?? "not needed"}`);
  assert.deepEqual(kinds(), ["shop-web-tls unknown"]);
  model.setSecret("shop/web", tls("web", web));
  assert.deepEqual(kinds(), ["shop-web-tls row"]);
  model.setSecret("shop/web", secret("web", { "tls.crt": web.cert }));
  assert.deepEqual(kinds(), ["shop-web-tls stays"]);
  model.setSecret("shop/web", null);
  assert.deepEqual(kinds(), ["shop-web-tls gone"]);
  model.removeIngress("shop/web");
  assert.deepEqual(kinds(), ["shop-web-tls not needed"]);
});

test("after any sequence of changes the model says what a fresh one says of what is left", () => {
  const hosts = ["web.example.test", "a.example.test", "*.example.test", "www.web.example.test", ""];
  const secrets = [tls("s0", web), tls("s0", wild), tls("s0", both), secret("s0", {}), null, undefined];
  const ingress = fc.record({
    name: fc.constantFrom("m0", "m1", "m2"),
    hosts: fc.subarray(hosts, { minLength: 1 }),
    named: fc.subarray(hosts),
    secretName: fc.constantFrom("s0", "s1", ""),
    year: fc.constantFrom(2020, 2021),
    annotations: fc.constantFrom<Record<string, string>>(
      {},
      { "server-alias": "a.example.test" },
      { "from-to-www-redirect": "true" },
    ),
    withTls: fc.boolean(),
  });
  const step = fc.oneof(
    ingress.map((of) => ({ ingress: of })),
    fc.constantFrom("m0", "m1", "m2").map((gone) => ({ gone })),
    fc.tuple(fc.constantFrom("s0", "s1"), fc.constantFrom(...secrets)).map(([at, held]) => ({ at, held })),
    fc.constant({ settle: true as const }),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 25 }), (steps) => {
      const model = new FleetModel({ ...options, defaultCertificate: { namespace: "shop", name: "s1" } });
      const [rows, wants, verdicts] = [new Map(), new Map(), new Map()];
      const left = new Map<string, MultiClusterIngress>();
      const held = new Map<string, ReadSecret | null>();
      const settle = () => {
        const changes = model.settle();
        const keep = <T>(into: Map<string, T>, from: ReadonlyMap<string, T | null>) => {
          for (const [key, value] of from)
            if (value === null) into.delete(key);
            else into.set(key, value);
        };
        keep(rows, changes.rows);
        keep(wants, changes.secrets);
        for (const [key, all] of changes.verdicts)
          if (all.length === 0) verdicts.delete(key);
          else verdicts.set(key, all);
      };
      model.setImport(webImport);
      model.setNow(NOW);
      for (const each of steps) {
        if ("ingress" in each) {
          const { named, secretName, withTls, ...more } = each.ingress;
          const written = webIngress({
            ...more,
            ...(withTls ? { tls: [{ secretName, hosts: named }] } : {}),
          });
          left.set(`shop/${more.name}`, written);
          model.setIngress(written);
        } else if ("gone" in each) {
          left.delete(`shop/${each.gone}`);
          model.removeIngress(`shop/${each.gone}`);
        } else if ("at" in each) {
          if (each.held === undefined) held.delete(`shop/${each.at}`);
          else held.set(`shop/${each.at}`, each.held);
          model.setSecret(`shop/${each.at}`, each.held);
        } else settle();
      }
      settle();
      const fresh = buildFleet(
        { ...world([...left.values()]), secrets: held },
        { ...options, defaultCertificate: { namespace: "shop", name: "s1" } },
      );
      const sorted = (map: ReadonlyMap<string, unknown>) => [...map].sort(([a], [b]) => (a < b ? -1 : 1));
      assert.deepEqual(sorted(rows), sorted(fresh.rows));
      assert.deepEqual(
        sorted(wants).map(([id, want]) => [id, (want as { kind: string }).kind]),
        sorted(fresh.secrets).map(([id, want]) => [id, (want as { kind: string }).kind]),
      );
      assert.deepEqual(
        sorted(verdicts).flatMap(([, all]) => all),
        fresh.verdicts,
      );
    }),
    { numRuns: 300 },
  );
});
