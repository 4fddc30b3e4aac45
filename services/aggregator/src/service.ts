import { busOptions, connectBus } from "@sluice/bus";
import { connectCluster } from "@sluice/kube";
import {
  type ConfigSpec,
  defineService,
  groupAssignments,
  natsFileSettings,
  natsReplicasSetting,
  natsUrlSetting,
  peersSetting,
  text,
} from "@sluice/service-kit";
import { runAggregator } from "./aggregator.ts";

const settings = {
  natsUrl: natsUrlSetting,
  ...natsFileSettings,
  natsReplicas: natsReplicasSetting,
  hub: {
    env: "SLUICE_AGGREGATOR_HUB",
    flag: "hub",
    help: "kubeconfig of the hub; off writes nothing into a hub",
    read: text,
  },
  members: {
    env: "SLUICE_AGGREGATOR_MEMBERS",
    flag: "member",
    help: "name of a member that exists, so that nothing of it counts as gone before its watcher says so",
    many: true,
    read: text,
  },
  peers: peersSetting,
  refused: {
    env: "SLUICE_REFUSED_PEERS",
    flag: "refuse-peer",
    help: "address that is never a peer, e.g. the hub's own",
    many: true,
    read: text,
  },
} satisfies ConfigSpec;

export const aggregator = defineService({
  name: "aggregator",
  settings,
  run: async ({ config, own, ...kit }) => {
    const hub =
      config.hub === "off"
        ? null
        : await connectCluster({ name: "hub", kubeconfig: config.hub, log: kit.log });
    kit.health.set("bus", "not connected yet");
    const bus = own(await connectBus({ ...busOptions(config), name: "aggregator", kit }));
    kit.health.set("bus", null);
    const { members, refused } = config;
    await runAggregator(
      { bus, hub },
      { members, refused, peers: groupAssignments(config.peers) },
      { ...kit, signal: bus.signal },
    );
    hub?.close();
  },
});
