import { chmod, mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { stringify } from "yaml";
import { type SandboxCluster, startCluster } from "./cluster.ts";
import { startControl } from "./control.ts";
import { type Logger, silentLogger } from "./logger.ts";

export interface SandboxOptions {
  members: number;
  /** Kubeconfigs go to `<stateDir>/kubeconfig/hub`, `member1` … with mode 0600. */
  stateDir: string;
  /** Closes everything when it aborts. */
  signal: AbortSignal;
  /** Whether members run controllers and a node; they do when absent. The hub never does. */
  workloads?: boolean;
  log?: Logger;
}

export interface Sandbox {
  readonly clusters: Map<string, SandboxCluster>;
  /** Kubeconfig file of each cluster. */
  readonly kubeconfigs: Map<string, string>;
  /** Loopback range of each member's pods. */
  readonly podRanges: Map<string, string>;
  readonly control: { url: string; token: string };
  close(): Promise<void>;
}

/** memberN's pods live at 127.(10+N).x.x: every member has a range of its own, so that a wrong route shows. */
export function podRangeOf(member: number): string {
  return `127.${10 + member}.0.0/16`;
}

/** A hub and members, each an API server of its own, and the control that breaks them on demand. */
export async function startSandbox(options: SandboxOptions): Promise<Sandbox> {
  const { members, stateDir, signal, workloads = true, log = silentLogger } = options;
  if (!Number.isInteger(members) || members < 0 || members > 240) {
    throw new RangeError(`members must be a whole number from 0 to 240, not ${members}`);
  }
  signal.throwIfAborted();
  await using started = new AsyncDisposableStack();
  const clusters = new Map<string, SandboxCluster>();
  const kubeconfigs = new Map<string, string>();
  const podRanges = new Map<string, string>();
  const folder = join(stateDir, "kubeconfig");
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const names = ["hub", ...Array.from({ length: members }, (_, i) => `member${i + 1}`)];
  for (const [number, name] of names.entries()) {
    const cluster = await startCluster({ name, log });
    started.defer(() => cluster.close());
    clusters.set(name, cluster);
    const file = join(folder, name);
    await writeFile(file, stringify(cluster.kubeconfig()), { mode: 0o600 });
    // The mode above counts for a new file only.
    await chmod(file, 0o600);
    kubeconfigs.set(name, file);
    if (number === 0) continue;
    const podRange = podRangeOf(number);
    podRanges.set(name, podRange);
  }
  if (workloads && members > 0) {
    // Their Kubernetes client takes longer to load than the API servers to start: only for those who want pods.
    const { startWorkloads } = await import("./workloads/mod.ts");
    const starting = [...podRanges].map(async ([name, podRange]) => {
      const cluster = clusters.get(name);
      if (cluster === undefined) return;
      const running = await startWorkloads({ cluster, signal, log: log.child({ cluster: name }), podRange });
      started.defer(() => running.close());
    });
    await Promise.all(starting);
  }
  const control = await startControl({ clusters, kubeconfigs, podRanges });
  started.defer(() => control.close());
  // Aborted meanwhile: what has started is closed on the way out.
  signal.throwIfAborted();
  const owned = started.move();
  let closing: Promise<void> | undefined;
  const close = () => {
    closing ??= owned.disposeAsync();
    return closing;
  };
  signal.addEventListener(
    "abort",
    () => {
      close().catch((err: unknown) => log.error({ err }, "sandbox did not close cleanly"));
    },
    { once: true },
  );
  return { clusters, kubeconfigs, podRanges, control: { url: control.url, token: control.token }, close };
}
