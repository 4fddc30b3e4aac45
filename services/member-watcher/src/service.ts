import { connectBus } from "@sluice/bus";
import { connectCluster } from "@sluice/kube";
import { assignment, type ConfigSpec, defineService, text } from "@sluice/service-kit";
import { runMemberWatcher } from "./member-watcher.ts";

const settings = {
  natsUrl: {
    env: "SLUICE_NATS_URL",
    flag: "nats-url",
    help: "address of the bus, e.g. nats://127.0.0.1:4222",
    read: text,
  },
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
