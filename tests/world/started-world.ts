import { type ChildProcess, spawn } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import type { RunFile } from "@sluice/cli";
import { connectCluster, type KubeClient } from "@sluice/kube";
import { freePort } from "@sluice/native-tools";

const root = fileURLToPath(new URL("../..", import.meta.url));
const STOP_MS = 60_000;

/** What `npm start -- --json` prints. */
export interface WorldAddresses extends RunFile {
  readonly sandbox: { readonly control: { readonly url: string; readonly token: string } };
}

/** `npm start`'s world as a child of the test, reached from outside as a user reaches it. */
export interface StartedWorld extends AsyncDisposable {
  readonly addresses: WorldAddresses;
  readonly launcher: ChildProcess;
  /** All that it wrote to stderr so far. */
  stderr(): string;
  cluster(name: string): KubeClient;
  /** Breaks or mends a cluster of the sandbox. */
  fault(cluster: string, change: { api?: string; pods?: string }): Promise<void>;
  /** run.json as it is now. */
  stop(): Promise<number | null>;
}

/**
 * Starts a world of its own: free ports, a state folder of its own.
 *
 * @param env for it and all its processes, besides the environment of the test
 * @param apart in a session of its own, as its services are: Linux shares the cores out by session (sched_autogroup), and
 * who measures waits for them as long as the sandbox makes it, not the services. A terminal's Ctrl-C does not reach it.
 * @throws when it ends before it is ready, with what it said
 */
export async function startedWorld(
  args: readonly string[],
  signal: AbortSignal,
  env: Readonly<Record<string, string>> = {},
  apart = false,
): Promise<StartedWorld> {
  const stateDir = await mkdtemp(join(tmpdir(), "sluice-world-"));
  const ports = ["--http-port", String(await freePort()), "--gateway-port", String(await freePort())];
  const launcher = spawn(
    process.execPath,
    [join(root, "scripts/run.mjs"), "start", "--json", "--state-dir", stateDir, ...ports, ...args],
    { stdio: ["ignore", "pipe", "pipe"], cwd: root, detached: apart, env: { ...process.env, ...env } },
  );
  let said = "";
  launcher.stderr.on("data", (chunk: Buffer) => {
    said = (said + chunk.toString()).slice(-100_000);
  });
  const exited = new Promise<number | null>((resolve) => launcher.once("exit", (code) => resolve(code)));
  const clients = new Map<string, KubeClient>();
  const stop = async () => {
    for (const client of clients.values()) client.close();
    if (launcher.exitCode === null && launcher.signalCode === null) launcher.kill("SIGTERM");
    const code = await Promise.race([exited, delay(STOP_MS, "late" as const, { ref: false })]);
    if (code === "late") {
      launcher.kill("SIGKILL");
      throw new Error(`npm start did not end within ${STOP_MS / 1000} s:\n${said}`);
    }
    await rm(stateDir, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 });
    return code;
  };
  const onAbort = () => launcher.kill("SIGTERM");
  signal.addEventListener("abort", onAbort, { once: true });
  const line = await Promise.race([firstLine(launcher), exited.then(() => null)]);
  if (line === null) {
    await rm(stateDir, { recursive: true, force: true });
    throw new Error(`npm start ended with ${await exited}:\n${said}`);
  }
  const addresses = JSON.parse(line) as WorldAddresses;
  for (const [name, kubeconfig] of Object.entries(addresses.kubeconfigs)) {
    clients.set(name, await connectCluster({ name, kubeconfig }));
  }
  return {
    addresses,
    launcher,
    stderr: () => said,
    cluster(name) {
      const client = clients.get(name);
      if (client === undefined) throw new Error(`there is no cluster ${name}`);
      return client;
    },
    async fault(cluster, change) {
      const { url, token } = addresses.sandbox.control;
      const answer = await fetch(`${url}/faults`, {
        method: "POST",
        headers: { authorization: `Bearer ${token}`, "content-type": "application/json" },
        body: JSON.stringify({ cluster, ...change }),
        signal,
      });
      if (!answer.ok) throw new Error(`fault: ${answer.status} ${await answer.text()}`);
    },
    stop,
    async [Symbol.asyncDispose]() {
      signal.removeEventListener("abort", onAbort);
      await stop();
    },
  };
}

async function firstLine(child: ChildProcess): Promise<string> {
  if (child.stdout !== null) for await (const line of createInterface({ input: child.stdout })) return line;
  return new Promise<string>(() => {});
}
