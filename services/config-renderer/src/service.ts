import { resolve } from "node:path";
import { busOptions, connectBus } from "@sluice/bus";
import { ConfigError } from "@sluice/contracts";
import { clusterGroups } from "@sluice/ingress";
import { connectCluster } from "@sluice/kube";
import { readPublicKey } from "@sluice/sealing";
import {
  bool,
  type ConfigOf,
  type ConfigSpec,
  defineService,
  dnsName,
  groupAssignments,
  natsFileSettings,
  natsReplicasSetting,
  natsUrlSetting,
  peersSetting,
  text,
} from "@sluice/service-kit";
import { runConfigRenderer } from "./config-renderer.ts";
import type { ConfigRendererOptions } from "./options.ts";

const settings = {
  natsUrl: natsUrlSetting,
  ...natsFileSettings,
  natsReplicas: natsReplicasSetting,
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
    read: dnsName,
  },
  ingressClasses: {
    env: "SLUICE_CONFIG_RENDERER_INGRESS_CLASS",
    flag: "ingress-class",
    help: "class of MultiClusterIngress that this fleet serves; may be repeated",
    default: "nginx",
    many: true,
    read: dnsName,
  },
  watchWithoutClass: {
    env: "SLUICE_CONFIG_RENDERER_WATCH_WITHOUT_CLASS",
    flag: "watch-without-class",
    help: "serve MultiClusterIngresses that name no class",
    default: "false",
    boolean: true,
    read: bool,
  },
  locality: {
    env: "SLUICE_CONFIG_RENDERER_LOCALITY",
    flag: "locality",
    help: "clusters near this fleet, nearest first, as in member1,member2>member3; for imports with sluice.dev/locality",
    default: "",
    read: nearClusters,
  },
  defaultBackend: {
    env: "SLUICE_CONFIG_RENDERER_DEFAULT_BACKEND",
    flag: "default-backend",
    help: "NAMESPACE/NAME of a ServiceImport whose first TCP port takes what no rule takes",
    default: "",
    read: objectName,
  },
  configMap: {
    env: "SLUICE_CONFIG_RENDERER_CONFIGMAP",
    flag: "configmap",
    help: "NAMESPACE/NAME of a ConfigMap in the hub with ingress-nginx's options, for all objects",
    default: "",
    read: objectName,
  },
  fleetKey: {
    env: "SLUICE_CONFIG_RENDERER_FLEET_KEY",
    flag: "fleet-key",
    help: "public half of the fleet's key (`sluice fleet-key`), for which certificates and passwords are sealed",
    default: "",
    read: text,
  },
  defaultCertificate: {
    env: "SLUICE_CONFIG_RENDERER_DEFAULT_SSL_CERTIFICATE",
    flag: "default-ssl-certificate",
    help: "NAMESPACE/NAME of a Secret with the certificate that is shown where no other is to be",
    default: "",
    read: objectName,
  },
  publishAddresses: {
    env: "SLUICE_CONFIG_RENDERER_PUBLISH_ADDRESS",
    flag: "publish-address",
    help: "IP address or host name for status.loadBalancer; may be repeated",
    many: true,
    read: text,
  },
  peers: peersSetting,
} satisfies ConfigSpec;

/** @throws Error what is wrong, for the message about the setting */
function nearClusters(value: string): ReadonlyMap<string, number> | null {
  if (value === "") return null;
  const ranks = clusterGroups(value);
  if (ranks === null)
    throw new Error("write clusters with commas between, and > before those that are farther");
  return ranks;
}

function objectName(value: string): { namespace: string; name: string } | null {
  if (value === "") return null;
  const [namespace = "", name = "", ...rest] = value.split("/");
  if (rest.length > 0 || name === "") throw new Error("write NAMESPACE/NAME");
  return { namespace: dnsName(namespace), name: dnsName(name) };
}

/** @throws FleetKeyError */
async function optionsFrom(config: ConfigOf<typeof settings>): Promise<ConfigRendererOptions> {
  if (config.fleetKey === "" && config.defaultCertificate !== null) {
    throw new ConfigError(
      "--default-ssl-certificate: a certificate is sealed for a key; give it with --fleet-key",
    );
  }
  return {
    fleet: config.fleet,
    ingressClasses: config.ingressClasses,
    watchWithoutClass: config.watchWithoutClass,
    defaultBackend: config.defaultBackend,
    configMap: config.configMap,
    fleetKey: config.fleetKey === "" ? null : await readPublicKey(resolve(config.fleetKey)),
    defaultCertificate: config.defaultCertificate,
    locality: config.locality,
    publishAddresses: config.publishAddresses,
    peers: Object.fromEntries(groupAssignments(config.peers)),
  };
}

export const configRenderer = defineService({
  name: "config-renderer",
  settings,
  run: async ({ config, own, ...kit }) => {
    const options = await optionsFrom(config);
    const hub = await connectCluster({ name: "hub", kubeconfig: config.hub, log: kit.log });
    kit.health.set("bus", "not connected yet");
    const bus = own(await connectBus({ ...busOptions(config), name: "config-renderer", kit }));
    kit.health.set("bus", null);
    await runConfigRenderer({ bus, hub }, options, { ...kit, signal: bus.signal });
    hub.close();
  },
});
