import { busOptions, connectBus } from "@sluice/bus";
import { connectCluster } from "@sluice/kube";
import {
  type ConfigSpec,
  defineService,
  duration,
  groupAssignments,
  integer,
  natsFileSettings,
  natsReplicasSetting,
  natsUrlSetting,
  peersSetting,
  text,
} from "@sluice/service-kit";
import { runAggregator } from "./aggregator.ts";
import { defaultPast } from "./past-keeper.ts";

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
  logMaxBytes: {
    env: "SLUICE_LOG_MAX_BYTES",
    flag: "log-max-bytes",
    help: "bytes of history that the bus keeps; the oldest goes first",
    default: String(defaultPast.log.maxBytes),
    read: integer(2 ** 20, Number.MAX_SAFE_INTEGER),
  },
  logMaxAge: {
    env: "SLUICE_LOG_MAX_AGE",
    flag: "log-max-age",
    help: "age of history beyond which the bus forgets it",
    default: `${defaultPast.log.maxAgeSeconds / 3600}h`,
    read: duration,
  },
  checkpointEvery: {
    env: "SLUICE_CHECKPOINT_EVERY",
    flag: "checkpoint-every",
    help: "time between two snapshots from which a past state is told",
    default: `${defaultPast.everyMs / 60_000}m`,
    read: duration,
  },
  checkpointLogBytes: {
    env: "SLUICE_CHECKPOINT_LOG_BYTES",
    flag: "checkpoint-log-bytes",
    help: "bytes of history behind a snapshot after which the next one is written earlier",
    default: String(defaultPast.everyBytes),
    read: integer(2 ** 10, Number.MAX_SAFE_INTEGER),
  },
  checkpointMaxBytes: {
    env: "SLUICE_CHECKPOINT_MAX_BYTES",
    flag: "checkpoint-max-bytes",
    help: "bytes that all snapshots may take; the oldest goes first",
    default: String(defaultPast.maxBytes),
    read: integer(2 ** 20, Number.MAX_SAFE_INTEGER),
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
    const past = {
      log: { maxBytes: config.logMaxBytes, maxAgeSeconds: config.logMaxAge / 1000 },
      everyMs: config.checkpointEvery,
      everyBytes: config.checkpointLogBytes,
      maxBytes: config.checkpointMaxBytes,
    };
    await runAggregator(
      { bus, hub },
      { members, refused, peers: groupAssignments(config.peers), past },
      { ...kit, signal: bus.signal },
    );
    hub?.close();
  },
});
