// The ConfigMap of all objects: read before anything is published, and followed.
import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import {
  fleetKeys,
  type ProfileRow,
  type RolloutRow,
  type RouteRow,
  type SettingsRow,
} from "@sluice/contracts";
import { type ConfigMap, resources } from "@sluice/kube";
import { shopWorld, startRenderer } from "./testing/world.ts";

const configMap = { namespace: "shop", name: "config" };
const soon = { timeout: 60_000, interval: 10 };

function world(t: TestContext) {
  const { server, hub, fleet } = shopWorld(t);
  const settings = () => {
    const row = fleet.get("default.routes.shop_example_test") as RouteRow | undefined;
    const profile = row?.paths[0]?.profile;
    if (profile === undefined) return undefined;
    return (fleet.get(fleetKeys.profile("default", profile)) as ProfileRow | undefined)?.settings;
  };
  const start = () => {
    const renderer = startRenderer(server, hub, { configMap });
    t.after(() => renderer.stop());
  };
  const put = (data: Record<string, string>) =>
    hub.put<ConfigMap>(resources.configMap, { metadata: { ...configMap }, data });
  return { hub, fleet, settings, start, put };
}

test("what a ConfigMap says is followed, and what is wrong with it is told on it", async (t) => {
  const { hub, fleet, settings, start, put } = world(t);
  put({ "proxy-read-timeout": "90" });
  start();
  await t.waitFor(() => assert.deepEqual(settings(), { readTimeoutMs: 90_000 }), soon);
  put({ "proxy-read-timeout": "95", "worker-processes": "8" });
  await t.waitFor(() => assert.deepEqual(settings(), { readTimeoutMs: 95_000 }), soon);
  const profiles = () => [...fleet.rows.keys()].filter((key) => key.startsWith("default.profiles."));
  await t.waitFor(() => assert.equal(profiles().length, 2, "the default one, and what is said now"), soon);
  const told = () =>
    hub.events
      .filter(({ involvedObject }) => involvedObject.kind === "ConfigMap")
      .map(({ reason }) => reason);
  await t.waitFor(() => assert.deepEqual(told(), ["ConfigMapIgnored"]), soon);
  hub.remove(resources.configMap, "shop/config");
  await t.waitFor(() => assert.deepEqual(settings(), {}), soon);
  await t.waitFor(() => assert.deepEqual(told(), ["ConfigMapIgnored", "ConfigMapMissing"]), soon);
});

test("what a ConfigMap says of listeners is a row of the fleet, and stands in the order that proxies follow", async (t) => {
  const { hub, fleet, start, put } = world(t);
  put({ "keep-alive": "20", "ssl-protocols": "SSLv3" });
  start();
  const row = () => fleet.get("default.settings") as SettingsRow | undefined;
  const order = () => fleet.get("default.rollout") as RolloutRow | undefined;
  await t.waitFor(() => {
    assert.deepEqual(row(), { source: configMap, settings: { keepAliveMs: 20_000 } });
    // No proxy is there to try it.
    assert.deepEqual([order()?.proven, order()?.target], [null, null]);
  }, soon);
  await t.waitFor(() => assert.ok(hub.events.some(({ reason }) => reason === "ConfigMapInvalid")), soon);
  put({});
  await t.waitFor(() => {
    assert.equal(row(), undefined);
    assert.deepEqual(order()?.proven?.settings, {});
  }, soon);
});

test("routes wait for the ConfigMap: without it they might be open", async (t) => {
  const { hub, fleet, settings, start, put } = world(t);
  hub.missing.add(resources.configMap.plural);
  put({ "proxy-read-timeout": "90" });
  start();
  // The peers' part is whole, all else that routes are made of has been listed, and tried again.
  await t.waitFor(() => assert.ok(hub.lists >= 8), soon);
  assert.equal(fleet.rows.has("default.routes.shop_example_test"), false);
  hub.missing.clear();
  await t.waitFor(() => assert.deepEqual(settings(), { readTimeoutMs: 90_000 }), soon);
});

test("a ConfigMap that was never there is told, and routes do not wait for it", async (t) => {
  const { hub, settings, start } = world(t);
  start();
  await t.waitFor(() => assert.deepEqual(settings(), {}), soon);
  await t.waitFor(() => assert.ok(hub.events.some(({ reason }) => reason === "ConfigMapMissing")), soon);
});
