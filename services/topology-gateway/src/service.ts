import { busOptions, connectBus } from "@sluice/bus";
import { roles } from "@sluice/contracts";
import {
  type ConfigSpec,
  defineService,
  integer,
  natsFileSettings,
  natsReplicasSetting,
  natsUrlSetting,
  text,
} from "@sluice/service-kit";
import { runTopologyGateway } from "./topology-gateway.ts";

const settings = {
  natsUrl: natsUrlSetting,
  ...natsFileSettings,
  natsReplicas: natsReplicasSetting,
  host: {
    env: "SLUICE_TOPOLOGY_GATEWAY_HOST",
    flag: "host",
    help: "address to listen on; it has no authentication, so keep it on loopback",
    default: "127.0.0.1",
    read: text,
  },
  port: {
    env: "SLUICE_TOPOLOGY_GATEWAY_PORT",
    flag: "gateway-port",
    help: "port to listen on; 0 takes any free one",
    default: "31580",
    read: integer(0, 65535),
  },
  expectedRoles: {
    env: "SLUICE_TOPOLOGY_GATEWAY_EXPECT",
    flag: "expect",
    help: "roles that should have a live process, separated by commas; status names those that have none",
    default: roles.join(","),
    read: roleList,
  },
} satisfies ConfigSpec;

function roleList(value: string): readonly string[] {
  const given = value.split(",").map((role) => role.trim());
  const wrong = given.find((role) => !(roles as readonly string[]).includes(role));
  if (wrong !== undefined) throw new Error(`there is no role ${wrong}; write some of ${roles.join(",")}`);
  return given;
}

export const topologyGateway = defineService({
  name: "topology-gateway",
  settings,
  run: async ({ config, own, ...kit }) => {
    // Without a bus it still answers: that the bus is away is what a person wants to hear then.
    const bus = own(
      await connectBus({ ...busOptions(config), name: "topology-gateway", kit, waitOnFirstConnect: false }),
    );
    await runTopologyGateway({ bus }, config, kit);
  },
});
