import { hostname } from "node:os";
import { resolve } from "node:path";
import { busOptions, connectBus } from "@sluice/bus";
import { fleetTable, proxiesTable } from "@sluice/contracts";
import { openSealed, readPrivateKey } from "@sluice/sealing";
import {
  type ConfigSpec,
  defineService,
  dnsName,
  groupAssignments,
  natsFileSettings,
  natsUrlSetting,
  peersSetting,
  proxyFlagSettings,
  text,
} from "@sluice/service-kit";
import { networkProbe } from "./checks/probe.ts";
import { LastGoodFile } from "./last-good.ts";
import { nameServer, nameServers } from "./name-servers.ts";
import { UnixNginxClient } from "./nginx-client.ts";
import { socketPathOf } from "./nginx-conf.ts";
import { nginxObservation } from "./nginx-observation.ts";
import { keptListeners, keptProfiles, lastGoodPathOf, readPlan, secretsPathOf } from "./prepare-nginx.ts";
import { type ProxyAgentPorts, runProxyAgent } from "./proxy-agent.ts";
import { proxyFlagsOf, withFlags } from "./proxy-flags.ts";
import { reloadNginx } from "./reload-nginx.ts";
import { TrialFile } from "./trial-file.ts";

const settings = {
  natsUrl: natsUrlSetting,
  ...natsFileSettings,
  fleet: {
    env: "SLUICE_PROXY_AGENT_FLEET",
    flag: "fleet",
    help: "name of the fleet that this proxy belongs to",
    default: "default",
    read: dnsName,
  },
  proxy: {
    env: "SLUICE_PROXY_AGENT_PROXY",
    flag: "proxy",
    help: "name of this proxy within its fleet; default: the host's name",
    default:
      hostname()
        .toLowerCase()
        .replaceAll(/[^-a-z0-9.]/g, "-") || "proxy",
    read: dnsName,
  },
  nginxDir: {
    env: "SLUICE_PROXY_AGENT_NGINX_DIR",
    flag: "nginx-dir",
    help: "folder that nginx was prepared in: its configuration, its socket, the last good copy",
    read: (value) => resolve(value),
  },
  ...proxyFlagSettings("SLUICE_PROXY_AGENT"),
  fleetKeys: {
    env: "SLUICE_PROXY_AGENT_FLEET_KEY",
    flag: "fleet-key",
    help: "file with a private key of the fleet, for which certificates and other secrets are sealed; may be repeated",
    many: true,
    read: (value) => resolve(value),
  },
  peers: peersSetting,
  resolvers: {
    env: "SLUICE_PROXY_AGENT_RESOLVERS",
    flag: "resolver",
    help: "a name server that knows where services are that are asked of requests (auth-url); default: those of /etc/resolv.conf; may be repeated",
    many: true,
    read: nameServer,
  },
  authAddresses: {
    env: "SLUICE_PROXY_AGENT_AUTH_ADDRESSES",
    flag: "auth-address",
    help: "a loopback range of /16 or longer in which such a service may be: no other loopback address is asked; may be repeated",
    many: true,
    read: text,
  },
  refused: {
    env: "SLUICE_REFUSED_PEERS",
    flag: "refuse-peer",
    help: "an address that is never a peer, such as the hub's own; may be repeated",
    many: true,
    read: text,
  },
} satisfies ConfigSpec;

export const proxyAgent = defineService({
  name: "proxy-agent",
  settings,
  run: async ({ config, own, ...kit }) => {
    const peers = groupAssignments(config.peers);
    const fleetKeys = await Promise.all(config.fleetKeys.map(readPrivateKey));
    // The bus may be away for as long as it likes: there is a last good copy to serve from.
    const bus = own(
      await connectBus({ ...busOptions(config), name: "proxy-agent", kit, waitOnFirstConnect: false }),
    );
    const flags = proxyFlagsOf(config);
    const plan = async () => {
      const prepared = await readPlan(config.nginxDir);
      return prepared === null ? null : withFlags(prepared, flags);
    };
    const nginx = own(new UnixNginxClient(socketPathOf(config.nginxDir)));
    const proxies = bus.writer(proxiesTable);
    const ports: ProxyAgentPorts = {
      fleet: (options) => bus.view(fleetTable, options),
      proxies,
      nginx,
      lookup: nameServers(config.resolvers),
      lastGood: new LastGoodFile(lastGoodPathOf(config.nginxDir), secretsPathOf(config.nginxDir)),
      open: (id, sealed) => openSealed(fleetKeys, config.fleet, id, sealed),
      plan,
      observe: nginxObservation(nginx, config.nginxDir),
      kept: () => keptProfiles(config.nginxDir),
      keptListeners: () => keptListeners(config.nginxDir),
      trial: new TrialFile(config.nginxDir),
      reload: (options, profiles, check) =>
        reloadNginx(options, profiles, { nginx, clock: kit.clock, signal: kit.signal }, check),
      checks: {
        probe: networkProbe,
        proxies: () => bus.fellows,
        tell: (verdicts, expect, signal) => nginx.tell(verdicts, expect, signal),
      },
    };
    const { fleet, proxy, refused, authAddresses } = config;
    await Promise.all([
      runProxyAgent(ports, { fleet, proxy, peers, refused, authAddresses }, kit),
      bus.join(),
      proxies.done,
    ]);
  },
});
