import { busOptions, connectBus } from "@sluice/bus";
import { connectCluster } from "@sluice/kube";
import {
  assignment,
  type ConfigSpec,
  defineService,
  integer,
  natsFileSettings,
  natsUrlSetting,
} from "@sluice/service-kit";
import { runMemberWatcher } from "./member-watcher.ts";

const settings = {
  natsUrl: natsUrlSetting,
  ...natsFileSettings,
  members: {
    env: "SLUICE_MEMBER_WATCHER_MEMBERS",
    flag: "member",
    help: "NAME=KUBECONFIG of a member to watch; may be given more than once",
    many: true,
    read: assignment,
  },
  shards: {
    env: "SLUICE_MEMBER_WATCHER_SHARDS",
    flag: "shards",
    help: "NAME=NUMBER: cut that member into so many shards, which several processes share; may be given more than once",
    many: true,
    read: shardsOf,
  },
} satisfies ConfigSpec;

function shardsOf(value: string): readonly [cluster: string, shards: number] {
  const [cluster, count] = assignment(value);
  return [cluster, integer(1, 1024)(count)];
}

export const memberWatcher = defineService({
  name: "member-watcher",
  settings,
  run: async ({ config, own, ...kit }) => {
    const members = await Promise.all(
      config.members.map(([name, kubeconfig]) => connectCluster({ name, kubeconfig, log: kit.log })),
    );
    kit.health.set("bus", "not connected yet");
    const bus = own(await connectBus({ ...busOptions(config), name: "member-watcher", kit }));
    kit.health.set("bus", null);
    const shards = new Map(config.shards);
    await runMemberWatcher({ bus, members }, { ...kit, signal: bus.signal }, { shards });
    for (const client of members) client.close();
  },
});
