// ConfigMaps that objects name: read by their name, before routes are made of them, and followed.
import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import type { RouteRow } from "@sluice/contracts";
import { type ConfigMap, type MultiClusterIngress, resources } from "@sluice/kube";
import { createKit } from "@sluice/service-kit";
import { NamedConfigMaps } from "./named-config-maps.ts";
import type { ConfigRendererOptions } from "./options.ts";
import { FakeHub } from "./testing/fake-hub.ts";
import { importWorld, startRenderer } from "./testing/world.ts";

const configMap = { namespace: "shop", name: "config" };
const ROUTE = "default.routes.shop_example_test";

/** A hub whose MCI names the ConfigMap `headers`, and no renderer yet. */
function world(t: TestContext) {
  const { server, hub, fleet } = importWorld(t);
  const put = (name: string, data: Record<string, string>) =>
    hub.put<ConfigMap>(resources.configMap, { metadata: { namespace: "shop", name }, data });
  const name = (named: string | null) =>
    hub.put<MultiClusterIngress>(resources.multiClusterIngress, {
      metadata: {
        name: "shop",
        namespace: "shop",
        creationTimestamp: "2026-01-01T00:00:00Z",
        annotations: named === null ? {} : { "nginx.ingress.kubernetes.io/custom-headers": named },
      },
      spec: {
        ingressClassName: "nginx",
        rules: [
          {
            host: "shop.example.test",
            http: {
              paths: [
                {
                  path: "/",
                  pathType: "Prefix",
                  backend: { service: { name: "web", port: { number: 80 } } },
                },
              ],
            },
          },
        ],
      },
    });
  put("config", { "global-allowed-response-headers": "X-Own" });
  name("headers");
  return {
    hub,
    put,
    name,
    start: (more: Partial<ConfigRendererOptions> = {}) => {
      const renderer = startRenderer(server, hub, { configMap, ...more });
      t.after(() => renderer.stop());
      return renderer;
    },
    /** Resolves when the route has these headers. */
    headers: (expected: RouteRow["paths"][number]["answerHeaders"]) =>
      t.waitFor(
        () => {
          const row = fleet.get(ROUTE) as RouteRow | undefined;
          assert.ok(row !== undefined);
          assert.deepEqual(row.paths[0]?.answerHeaders, expected);
        },
        { timeout: 60_000, interval: 10 },
      ),
    told: (count: number) =>
      t.waitFor(
        () => {
          const missing = hub.events.filter(({ reason }) => reason === "ConfigMapMissing");
          assert.equal(missing.length, count);
          for (const { message } of missing) assert.match(message ?? "", /ConfigMap shop\/headers /);
        },
        { timeout: 60_000, interval: 10 },
      ),
  };
}

const own = (value: string) => [{ name: "X-Own", value }];

test("a ConfigMap that an object names is read, whatever else the hub has, and followed", async (t) => {
  const { hub, put, name, start, headers, told } = world(t);
  put("headers", { "X-Own": "1" });
  for (let n = 0; n < 100; n++) put(`other-${n}`, { "X-Own": "no" });
  start();
  await headers(own("1"));
  put("headers", { "X-Own": "2" });
  await headers(own("2"));
  hub.remove(resources.configMap, "shop/headers");
  await headers([]);
  await told(1);
  put("headers", { "X-Own": "3" });
  await headers(own("3"));
  name(null);
  await headers(undefined);
  put("headers", { "X-Own": "4" });
  name("headers");
  await headers(own("4"));
});

test("routes do not wait for a ConfigMap that may not be read; its object is told", async (t) => {
  const { hub, put, start, headers, told } = world(t);
  put("headers", { "X-Own": "1" });
  hub.forbidden.set("configmaps", "all");
  start({ configMap: null });
  await headers([]);
  await told(1);
  hub.forbidden.clear();
  // It has been read: nobody has said that it may hold this.
  await t.waitFor(
    () => assert.ok(hub.events.some(({ message = "" }) => message.includes('data["X-Own"] is not allowed'))),
    { timeout: 60_000, interval: 10 },
  );
});

test("whoever takes over goes on with what a ConfigMap says now", async (t) => {
  const { put, start, headers } = world(t);
  put("headers", { "X-Own": "1" });
  const first = start();
  await headers(own("1"));
  start();
  put("headers", { "X-Own": "2" });
  await first.stop();
  await headers(own("2"));
  put("headers", { "X-Own": "3" });
  await headers(own("3"));
});

test("routes wait for ConfigMaps that are named first, until they have been read or it is clear that they cannot be", async (t) => {
  const hub = new FakeHub();
  const controller = new AbortController();
  const { signal } = controller;
  // Nobody's time passes: whoever waited for it would wait for ever.
  const clock = {
    now: () => 0,
    monotonic: () => 0,
    sleep: (_: number, until: AbortSignal) =>
      new Promise<void>((_resolve, reject) => {
        until.addEventListener("abort", () => reject(until.reason), { once: true });
      }),
  };
  const told: string[] = [];
  const kit = createKit({ service: "config-renderer", signal, clock });
  const maps = new NamedConfigMaps(
    hub,
    (key, object) => told.push(`${key} ${object == null ? object : object.data?.["X-Own"]}`),
    kit,
  );
  t.after(async () => {
    controller.abort();
    await maps.done;
  });
  hub.put<ConfigMap>(resources.configMap, {
    metadata: { namespace: "shop", name: "a" },
    data: { "X-Own": "1" },
  });
  await maps.looked(new Map([["shop/a", true]]), signal);
  assert.deepEqual(told, ["shop/a 1"]);
  await maps.looked(new Map([["shop/b", true]]), signal);
  assert.deepEqual(told.slice(1), ["shop/b null"]);
  // Nothing new: nothing is waited for.
  await maps.looked(new Map([["shop/a", true]]), signal);
  await maps.refresh(signal);
  hub.forbidden.set("configmaps", "all");
  await maps.looked(new Map([["shop/c", true]]), signal);
  await maps.looked(new Map([["shop/a", false]]), signal);
  assert.equal(told.at(-1), "shop/a undefined");
});
