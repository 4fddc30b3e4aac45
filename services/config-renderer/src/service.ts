import { connectBus } from "@sluice/bus";
import { parseCidr } from "@sluice/contracts";
import { connectCluster } from "@sluice/kube";
import {
  assignment,
  bool,
  type ConfigOf,
  type ConfigSpec,
  defineService,
  natsUrlSetting,
  text,
} from "@sluice/service-kit";
import { runConfigRenderer } from "./config-renderer.ts";
import type { ConfigRendererOptions } from "./options.ts";

function peersFlag(value: string): readonly [cluster: string, cidrs: readonly string[]] {
  const [cluster, list] = assignment(value);
  const cidrs = list.split(",").map((cidr) => cidr.trim());
  for (const cidr of cidrs) {
    if (parseCidr(cidr) === null) throw new Error(`${cidr} is no CIDR; write NAME=CIDR[,CIDR]`);
  }
  return [cluster, cidrs];
}

function name(value: string): string {
  if (!/^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$/.test(value)) throw new Error("write a lower-case DNS name");
  return value;
}

const settings = {
  natsUrl: natsUrlSetting,
  hub: {
    env: "SLUICE_CONFIG_RENDERER_HUB",
    flag: "hub",
    help: "kubeconfig of the hub",
    read: text,
  },
  fleet: {
    env: "SLUICE_CONFIG_RENDERER_FLEET",
    flag: "fleet",
    help: "name of the fleet of proxies that is written for",
    default: "default",
    read: name,
  },
  ingressClasses: {
    env: "SLUICE_CONFIG_RENDERER_INGRESS_CLASS",
    flag: "ingress-class",
    help: "class of MultiClusterIngress that this fleet serves; may be repeated",
    default: "nginx",
    many: true,
    read: name,
  },
  watchWithoutClass: {
    env: "SLUICE_CONFIG_RENDERER_WATCH_WITHOUT_CLASS",
    flag: "watch-without-class",
    help: "serve MultiClusterIngresses that name no class",
    default: "false",
    boolean: true,
    read: bool,
  },
  publishAddresses: {
    env: "SLUICE_CONFIG_RENDERER_PUBLISH_ADDRESS",
    flag: "publish-address",
    help: "IP address or host name for status.loadBalancer; may be repeated",
    many: true,
    read: text,
  },
  peers: {
    env: "SLUICE_PEERS",
    flag: "peers",
    help: "NAME=CIDR[,CIDR]: where that cluster's peers may be, besides what its Nodes tell; may be repeated",
    many: true,
    read: peersFlag,
  },
} satisfies ConfigSpec;

function optionsFrom(config: ConfigOf<typeof settings>): ConfigRendererOptions {
  const peers: Record<string, string[]> = {};
  for (const [cluster, cidrs] of config.peers) peers[cluster] = [...(peers[cluster] ?? []), ...cidrs];
  return {
    fleet: config.fleet,
    ingressClasses: config.ingressClasses,
    watchWithoutClass: config.watchWithoutClass,
    publishAddresses: config.publishAddresses,
    peers,
  };
}

export const configRenderer = defineService({
  name: "config-renderer",
  settings,
  run: async ({ config, own, ...kit }) => {
    const hub = await connectCluster({ name: "hub", kubeconfig: config.hub, log: kit.log });
    kit.health.set("bus", "not connected yet");
    const bus = own(await connectBus({ url: config.natsUrl, name: "config-renderer", kit }));
    kit.health.set("bus", null);
    await runConfigRenderer({ bus, hub }, optionsFrom(config), kit);
    hub.close();
  },
});
