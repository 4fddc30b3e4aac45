import { busOptions, connectBus } from "@sluice/bus";
import { connectCluster } from "@sluice/kube";
import { assignment, type ConfigSpec, defineService, natsFileSettings, text } from "@sluice/service-kit";
import { runPropagator } from "./propagator.ts";

const settings = {
  natsUrl: {
    env: "SLUICE_NATS_URL",
    flag: "nats-url",
    help: "address of the bus, where this process says that it lives; off says it nowhere",
    default: "off",
    read: text,
  },
  ...natsFileSettings,
  hub: {
    env: "SLUICE_PROPAGATOR_HUB",
    flag: "hub",
    help: "kubeconfig of the hub",
    read: text,
  },
  members: {
    env: "SLUICE_PROPAGATOR_MEMBERS",
    flag: "member",
    help: "NAME=KUBECONFIG of a member to propagate to; may be given more than once",
    many: true,
    read: assignment,
  },
} satisfies ConfigSpec;

export const propagator = defineService({
  name: "propagator",
  settings,
  run: async ({ config, own, ...kit }) => {
    const hub = await connectCluster({ name: "hub", kubeconfig: config.hub, log: kit.log });
    const members = await Promise.all(
      config.members.map(([name, kubeconfig]) => connectCluster({ name, kubeconfig, log: kit.log })),
    );
    // Policies are propagated with or without a bus; only `sluice status` misses the propagator then.
    const bus =
      config.natsUrl === "off"
        ? null
        : own(
            await connectBus({ ...busOptions(config), name: "propagator", kit, waitOnFirstConnect: false }),
          );
    await Promise.all([bus?.join(), runPropagator({ hub, members }, kit)]);
    for (const client of [hub, ...members]) client.close();
  },
});
