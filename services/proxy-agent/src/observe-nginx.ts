import { type Kit, slept } from "@sluice/service-kit";
import { rotated } from "./log-rotation.ts";
import type { NginxConnections } from "./nginx-client.ts";
import type { NginxProcesses } from "./nginx-processes.ts";
import type { ProxyMetrics } from "./proxy-metrics.ts";
import type { TrafficAnswer } from "./route-traffic.ts";

/** What can be seen of an nginx from beside it. */
export interface ObservePorts {
  /** Whoever asks has it from then on. */
  traffic(signal: AbortSignal): Promise<TrafficAnswer>;
  connections(signal: AbortSignal): Promise<NginxConnections>;
  /** null: nobody knows. */
  processes(): Promise<NginxProcesses | null>;
  /** Log files that nginx writes. */
  readonly logs: readonly string[];
  /** Bytes at which one of them is begun anew. Default: 64 MiB. */
  readonly mostLogBytes?: number;
  /** Has nginx open its logs anew. */
  reopen(): Promise<void>;
}

const OBSERVE_MS = 2000;

/** Asks nginx again and again what its requests came to, and keeps its logs bounded. Runs until the kit's signal aborts. */
export async function observeNginx(ports: ObservePorts, metrics: ProxyMetrics, kit: Kit): Promise<void> {
  const { signal, clock, log } = kit;
  while (await slept(clock, OBSERVE_MS, signal)) {
    try {
      metrics.dashboard.traffic(await ports.traffic(signal), clock.monotonic());
      metrics.connections(await ports.connections(signal));
      metrics.dashboard.processes(await ports.processes());
      let anew = false;
      for (const path of ports.logs) anew = (await rotated(path, ports.mostLogBytes)) || anew;
      if (anew) await ports.reopen();
    } catch (err) {
      if (signal.aborted) return;
      // Whether nginx answers at all is the heartbeat's to say.
      log.debug({ err }, "nginx could not be observed");
    }
  }
}
