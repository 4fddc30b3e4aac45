import { connectBus } from "@sluice/bus";
import { connectCluster } from "@sluice/kube";
import { assignment, type ConfigSpec, defineService, natsUrlSetting } from "@sluice/service-kit";
import { runMemberWatcher } from "./member-watcher.ts";

const settings = {
  natsUrl: natsUrlSetting,
  members: {
    env: "SLUICE_MEMBER_WATCHER_MEMBERS",
    flag: "member",
    help: "NAME=KUBECONFIG of a member to watch; may be given more than once",
    many: true,
    read: assignment,
  },
} satisfies ConfigSpec;

export const memberWatcher = defineService({
  name: "member-watcher",
  settings,
  run: async ({ config, own, ...kit }) => {
    const members = await Promise.all(
      config.members.map(([name, kubeconfig]) => connectCluster({ name, kubeconfig, log: kit.log })),
    );
    kit.health.set("bus", "not connected yet");
    const bus = own(await connectBus({ url: config.natsUrl, name: "member-watcher", kit }));
    kit.health.set("bus", null);
    await runMemberWatcher({ bus, members }, kit);
    for (const client of members) client.close();
  },
});
