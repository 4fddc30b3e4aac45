import type { Kit } from "@sluice/service-kit";
import { networkProbe } from "../checks/probe.ts";
import { LastGoodFile } from "../last-good.ts";
import { UnixNginxClient } from "../nginx-client.ts";
import { socketPathOf } from "../nginx-conf.ts";
import { keptListeners, keptProfiles, lastGoodPathOf, readPlan, secretsPathOf } from "../prepare-nginx.ts";
import type { ProxyAgentPorts } from "../proxy-agent.ts";
import { reloadNginx } from "../reload-nginx.ts";
import { TrialFile } from "../trial-file.ts";

/** A proxy's agent as its process wires it, for whoever has a bus of his own: a test or a benchmark. */
export function agentPorts(
  dir: string,
  kit: Kit,
  given: Pick<ProxyAgentPorts, "fleet" | "proxies"> & { readonly proxiesLive: () => number },
): ProxyAgentPorts {
  const nginx = new UnixNginxClient(socketPathOf(dir));
  return {
    fleet: given.fleet,
    proxies: given.proxies,
    nginx,
    lastGood: new LastGoodFile(lastGoodPathOf(dir), secretsPathOf(dir)),
    plan: () => readPlan(dir),
    kept: () => keptProfiles(dir),
    keptListeners: () => keptListeners(dir),
    trial: new TrialFile(dir),
    reload: (options, profiles, check) =>
      reloadNginx(options, profiles, { nginx, clock: kit.clock, signal: kit.signal }, check),
    checks: {
      probe: networkProbe,
      proxies: given.proxiesLive,
      tell: (verdicts, expect, signal) => nginx.tell(verdicts, expect, signal),
    },
  };
}
