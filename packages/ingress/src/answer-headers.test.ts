import assert from "node:assert/strict";
import { test } from "node:test";
import { type AnswerHeaders, decode, fleetKeys, type ProfileRow, RouteRow } from "@sluice/contracts";
import fc from "fast-check";
import { FleetModel } from "./fleet-model.ts";
import type { MultiClusterIngress } from "./objects.ts";

const config = { namespace: "shop", name: "config" };
const ALLOWED = "X-Frame-Options, Content-Security-Policy,X-Own";

function ingressOf(name: string, said: Readonly<Record<string, string>>): MultiClusterIngress {
  const annotations = Object.entries(said).map(([key, text]) => [`nginx.ingress.kubernetes.io/${key}`, text]);
  return {
    metadata: { name, namespace: "shop", annotations: Object.fromEntries(annotations) },
    spec: {
      ingressClassName: "nginx",
      rules: [
        {
          host: `${name}.example.test`,
          http: {
            paths: [
              { path: "/", pathType: "Exact", backend: { service: { name: "web", port: { number: 80 } } } },
            ],
          },
        },
      ],
    },
  };
}

/** An object that names ConfigMap shop/headers, beside one that names none. */
function headersWorld(named = "headers", allowed = ALLOWED) {
  const model = new FleetModel({
    fleet: "default",
    ingressClasses: ["nginx"],
    watchWithoutClass: false,
    configMap: config,
  });
  model.setConfig({ metadata: config, data: { "global-allowed-response-headers": allowed } });
  const object: MultiClusterIngress = ingressOf("shop", { "custom-headers": named });
  model.setIngress(object);
  model.setIngress(ingressOf("other", {}));
  const settled = () => {
    const { rows, verdicts } = model.settle();
    const row = (host: string) =>
      rows.get(fleetKeys.route("default", `${host}.example.test`)) as RouteRow | undefined;
    return {
      headers: row("shop")?.paths[0]?.answerHeaders,
      other: row("other"),
      profile: row("shop")?.paths[0]?.profile,
      rows,
      said: (verdicts.get("MultiClusterIngress shop/shop") ?? []).filter(
        ({ reason }) => reason !== "ImportMissing",
      ),
    };
  };
  const put = (data: Readonly<Record<string, unknown>>) =>
    model.setConfigMap("shop/headers", { metadata: { namespace: "shop", name: "headers" }, data });
  return { model, settled, put, object };
}

test("the keys of the ConfigMap that is named become headers, and a change of it changes rows of who names it alone", () => {
  const { model, settled, put } = headersWorld();
  assert.deepEqual([...model.takeNamedConfigMaps()], [["shop/headers", true]]);
  put({ "X-Frame-Options": "DENY", "Content-Security-Policy": "default-src 'self'; img-src *" });
  const first = settled();
  assert.deepEqual(first.headers, [
    { name: "Content-Security-Policy", value: "default-src 'self'; img-src *" },
    { name: "X-Frame-Options", value: "DENY" },
  ]);
  assert.deepEqual(first.said, []);
  assert.equal(first.other?.paths[0]?.answerHeaders, undefined);
  const profile = first.rows.get(fleetKeys.profile("default", first.profile ?? "")) as ProfileRow;
  assert.deepEqual(profile.settings, { filters: true });
  put({ "X-Frame-Options": "SAMEORIGIN" });
  const second = settled();
  assert.deepEqual(second.headers, [{ name: "X-Frame-Options", value: "SAMEORIGIN" }]);
  assert.deepEqual([...second.rows.keys()], ["default.routes.shop_example_test"]);
  // As long as it is named nothing of it needs another nginx.conf.
  put({});
  const third = settled();
  assert.deepEqual([third.headers, third.profile], [[], first.profile]);
});

test("one that is missing, or that nobody has read, is told on who names it, until it is there", () => {
  const { model, settled, put } = headersWorld("shop/headers");
  const before = settled();
  assert.deepEqual(before.headers, []);
  assert.match(
    before.said[0]?.message ?? "",
    /custom-headers\]: ConfigMap shop\/headers has not been read; let /,
  );
  model.setConfigMap("shop/headers", null);
  const [missing] = settled().said;
  assert.equal(missing?.reason, "ConfigMapMissing");
  assert.match(
    missing?.message ?? "",
    /ConfigMap shop\/headers is missing; create it\. No header is set until then/,
  );
  put({ "X-Own": "1" });
  assert.deepEqual(settled().said, []);
});

test("a key that may not be, or whose value is none, is left out and told with what to do; the others are set", () => {
  const { settled, put } = headersWorld();
  put({
    "X-Own": "1",
    "X-Other": "1",
    "x-frame-options": " DENY ",
    "Content-Length": "0",
    "X Bad": "1",
    X_Bad: "1",
    "Content-Security-Policy": "a\nb",
  });
  const { headers, said } = settled();
  assert.deepEqual(headers, [
    { name: "X-Own", value: "1" },
    { name: "x-frame-options", value: "DENY" },
  ]);
  const field = "metadata.annotations[nginx.ingress.kubernetes.io/custom-headers]: ConfigMap shop/headers, ";
  assert.ok(said.every(({ reason, message }) => reason === "ConfigMapInvalid" && message.startsWith(field)));
  assert.deepEqual(
    said.map(({ message }) => message.slice(field.length).split(/[;,]/)[0]),
    [
      'data["Content-Length"] is nginx\'s own to say',
      'data["Content-Security-Policy"] holds "a\\nb"',
      'data["X Bad"] is no name of a header (letters',
      'data["X-Other"] is not allowed',
      'data["X_Bad"] is no name of a header (letters',
    ],
  );
  assert.match(
    said[3]?.message ?? "",
    /name it in global-allowed-response-headers of the ConfigMap that --configmap/,
  );
});

test("without a list of what is allowed nothing is; a list that cannot be read is none", () => {
  for (const allowed of ["", "X-Own; X-Other", "Content-Length"]) {
    const { settled, put } = headersWorld("headers", allowed);
    put({ "X-Own": "1" });
    const { headers, said } = settled();
    assert.deepEqual([headers, said.length], [[], 1], allowed);
  }
});

test("a ConfigMap of another namespace is not asked for, and one that nobody names any more neither", () => {
  const { model, settled, object } = headersWorld("other/headers");
  const { headers, said } = settled();
  assert.equal(headers, undefined);
  assert.match(
    said[0]?.message ?? "",
    /names a ConfigMap of another namespace, which is not allowed; copy it/,
  );
  assert.equal(model.takeNamedConfigMaps().size, 0);
  model.setIngress({ ...object, ...ingressOf("shop", { "custom-headers": "headers" }) });
  assert.deepEqual([...model.takeNamedConfigMaps()], [["shop/headers", true]]);
  model.removeIngress("shop/shop");
  assert.deepEqual([...model.takeNamedConfigMaps()], [["shop/headers", false]]);
});

test("whatever a ConfigMap holds, what comes of it is a row of bounded headers", () => {
  const name = fc.oneof(fc.constantFrom(...ALLOWED.split(/, ?/), "Connection"), fc.string());
  const value = fc.oneof(fc.string(), fc.string({ unit: "binary", maxLength: 10_000 }), fc.anything());
  fc.assert(
    fc.property(fc.dictionary(name, value, { maxKeys: 100 }), (data) => {
      const { settled, put } = headersWorld();
      put(data);
      const { rows, headers } = settled();
      decode(RouteRow, rows.get("default.routes.shop_example_test"), "route");
      for (const header of headers as AnswerHeaders) {
        assert.match(header.name, /^[A-Za-z0-9-]+$/);
        assert.match(header.value, /^[\x20-\x7e]*$/);
      }
    }),
  );
});
