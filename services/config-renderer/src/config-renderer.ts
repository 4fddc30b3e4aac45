import type { Bus } from "@sluice/bus";
import {
  clustersTable,
  encodeToken,
  FORGET_ORDERS_MS,
  fleetTable,
  intentsTable,
  proxiesTable,
  topologyTable,
} from "@sluice/contracts";
import type { KubeClient } from "@sluice/kube";
import type { Kit } from "@sluice/service-kit";
import { rowOrder } from "./fleet-rows.ts";
import { HubReporter } from "./hub-reporter.ts";
import { HubSource } from "./hub-source.ts";
import type { ConfigRendererOptions } from "./options.ts";
import { Renderer } from "./renderer.ts";

export interface ConfigRendererPorts {
  readonly bus: Bus;
  readonly hub: KubeClient;
}

/**
 * Keeps one fleet's rows current: routes and upstreams from the hub's objects, peers from `topology`, cluster states
 * from `clusters`, `intents` and `proxies`. Of several renderers of a fleet one writes, the others stand by. Resolves when the signal has aborted and nothing of it runs.
 */
export async function runConfigRenderer(
  { bus, hub }: ConfigRendererPorts,
  options: ConfigRendererOptions,
  kit: Kit,
): Promise<void> {
  const { signal, health } = kit;
  health.set("hub", "not listed yet");
  health.set("fleet", "not claimed yet");
  const renderer = new Renderer(options, kit);
  const holder = bus.hold(
    fleetTable,
    { scope: options.fleet, shard: "" },
    {
      warm: (claim) => renderer.warm(claim),
      fresh: (claim, { sources }) => renderer.fresh(claim, sources),
      source: () => renderer.source(),
      knows: (key) => renderer.knows(key),
      fills: (key) => renderer.fills(key),
      complete: (claim) => renderer.complete(claim),
      order: rowOrder,
    },
  );
  const topology = bus.view(topologyTable, {
    onChange: (key, value, { trace }) => renderer.topologyChanged(key, value, trace),
    onSettled: () => renderer.topologySettled(),
  });
  const clusters = bus.view(clustersTable, {
    onChange: (key, value, { storedAt }) => renderer.clusterChanged(key, value, storedAt),
  });
  const intents = bus.view(intentsTable, {
    onChange: () => renderer.intentChanged(),
    forgetMs: FORGET_ORDERS_MS,
  });
  const proxies = bus.view(proxiesTable, {
    filter: `${encodeToken(options.fleet)}.*`,
    onChange: (key, value, { storedAt }) => renderer.proxyChanged(key, value, storedAt),
    onRestart: () => renderer.proxiesReadAnew(),
  });
  const fleet = bus.view(fleetTable, {
    filter: fleetTable.keys.filterOf(options.fleet),
    onChange: (key, value) => renderer.fleetChanged(key, value),
  });
  const reporter = new HubReporter(hub, options.publishAddresses, () => holder.holding, kit);
  bus.showObjects(() => reporter.findings());
  const source = new HubSource(hub, options.configMap ?? null, renderer, kit);
  renderer.attach({
    holder,
    topology,
    clusters,
    intents,
    proxies,
    fleet,
    hub: source,
    reporter,
    client: hub,
  });
  await Promise.all([
    renderer.publish(signal),
    renderer.tick(signal),
    renderer.readSecrets(signal),
    reporter.run(signal),
    bus.join([options.fleet]),
    holder.done,
    topology.done,
    clusters.done,
    intents.done,
    proxies.done,
    fleet.done,
    source.done,
  ]);
}
