import { join } from "node:path";
import { accessLogPathOf } from "./access-log.ts";
import type { UnixNginxClient } from "./nginx-client.ts";
import { pidFileOf } from "./nginx-conf.ts";
import { ProcessReader } from "./nginx-processes.ts";
import type { ObservePorts } from "./observe-nginx.ts";
import { readIfThere } from "./private-file.ts";

async function masterOf(dir: string): Promise<number | null> {
  // None: it has not begun, or has ended.
  const text = (await readIfThere(pidFileOf(dir))) ?? "";
  const pid = Number(text.trim());
  return Number.isInteger(pid) && pid > 1 ? pid : null;
}

/** The nginx of a folder, seen over its socket and as the kernel shows it. */
export function nginxObservation(client: UnixNginxClient, dir: string): ObservePorts {
  const reader = new ProcessReader();
  return {
    traffic: (signal) => client.traffic(signal),
    connections: (signal) => client.connections(signal),
    async processes() {
      const pid = await masterOf(dir);
      return pid === null ? null : reader.read(pid);
    },
    logs: [accessLogPathOf(dir), join(dir, "error.log")],
    async reopen() {
      const pid = await masterOf(dir);
      if (pid !== null) process.kill(pid, "SIGUSR1");
    },
  };
}
