import { type ChildProcess, spawn } from "node:child_process";
import { mkdirSync, rmSync } from "node:fs";
import { join, resolve } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import {
  createSteps,
  endLeftovers,
  LOCK_HOLDER,
  lockState,
  portFree,
  type RunFile,
  type Steps,
} from "@sluice/cli";
import { connectCluster, type KubeClient } from "@sluice/kube";
import { type Sandbox, startSandbox } from "@sluice/kube-sandbox";
import { createLogger } from "@sluice/service-kit";
import { applyAll, readManifests } from "./manifests.ts";
import type { StartOptions } from "./start-options.ts";

const root = fileURLToPath(new URL("..", import.meta.url));
const STOP_MS = 9000;

/** `sluice up` ended before it was ready; it has said why itself, and its exit code is ours. */
export class SluiceEndedError extends Error {
  readonly exit: number;
  constructor(how: string, exit: number) {
    super(`sluice up ended with ${how}; the lines above say why`);
    this.exit = exit;
  }
}

/** The sandbox's clusters, and Sluice on them. */
export interface World extends AsyncDisposable {
  readonly sandbox: Sandbox;
  readonly run: RunFile;
  readonly hub: KubeClient;
  member(name: string): KubeClient;
  /** Resolves when Sluice has ended, with what it ended. */
  readonly ended: Promise<string>;
  readonly steps: Steps;
}

interface Running {
  readonly run: RunFile;
  readonly child: ChildProcess;
  readonly ended: Promise<string>;
}

/** Starts everything; what has been started is closed again when it fails or the signal aborts. */
export async function startWorld(options: StartOptions, signal: AbortSignal): Promise<World> {
  const steps = createSteps(process.stderr);
  await using stack = new AsyncDisposableStack();
  const stateDir = resolve(options.stateDir);
  const lock = stack.use(lockState(stateDir, undefined));
  void lock;
  await endLeftovers(stateDir);
  await portFree("127.0.0.1", options.httpPort, "--http-port");
  await portFree("127.0.0.1", options.gatewayPort, "--gateway-port");
  // A fresh sandbox has new clusters: what an earlier one left on the bus or in the proxy means nothing in it.
  for (const name of ["nats", "proxy", "logs"])
    rmSync(join(stateDir, name), { recursive: true, force: true });
  mkdirSync(join(stateDir, "logs"), { recursive: true, mode: 0o700 });

  const closing = new AbortController();
  const sandbox = await steps.run(
    `sandbox: a hub and ${options.members} member${options.members === 1 ? "" : "s"}`,
    async () => {
      const log = await createLogger({
        service: "kube-sandbox",
        level: options.logLevel,
        file: join(stateDir, "logs", "kube-sandbox.log"),
      });
      return startSandbox({ members: options.members, stateDir, signal: closing.signal, log });
    },
    ({ clusters }) => [...clusters.values()].map(({ url }) => url.replace("http://127.0.0.1", "")).join(" "),
  );
  stack.defer(async () => {
    closing.abort(new Error("closing"));
    await sandbox.close();
  });

  const clients = new Map<string, KubeClient>();
  for (const [name, kubeconfig] of sandbox.kubeconfigs) {
    const client = await connectCluster({ name, kubeconfig });
    stack.defer(() => client.close());
    clients.set(name, client);
  }
  const client = (name: string): KubeClient => {
    const found = clients.get(name);
    if (found === undefined) throw new Error(`there is no cluster ${name}`);
    return found;
  };
  const hub = client("hub");

  // Sluice starts while the hub gets its objects: it meets them as late as in any cluster.
  const sluice = startSluice(options, stateDir, sandbox, signal);
  sluice.catch(() => {});
  stack.defer(async () => {
    await sluice.then(({ child }) => stopChild(child)).catch(() => {});
  });
  await steps.run("hub: custom resources", () =>
    applyAll(hub, readManifests(join(root, "deploy/crds")), signal),
  );
  if (!options.empty) {
    const objects = readManifests(join(root, "examples/hello"));
    await steps.run("hub: examples/hello", () => applyAll(hub, objects, signal));
  }
  const { run, ended } = await sluice;
  const owned = stack.move();
  return {
    sandbox,
    run,
    hub,
    member: client,
    ended,
    steps,
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

/** `sluice up` on the sandbox's kubeconfigs, as anybody would start it on theirs. */
async function startSluice(
  options: StartOptions,
  stateDir: string,
  sandbox: Sandbox,
  signal: AbortSignal,
): Promise<Running> {
  const args = ["up", "--json", "--state-dir", stateDir, "--hub", kubeconfig(sandbox, "hub")];
  for (const [name, range] of sandbox.podRanges) {
    args.push("--member", `${name}=${kubeconfig(sandbox, name)}`, "--peers", `${name}=${range}`);
  }
  args.push("--http-port", String(options.httpPort), "--gateway-port", String(options.gatewayPort));
  args.push("--https-port", String(options.httpsPort));
  if (options.configMap !== "") args.push("--configmap", options.configMap);
  const { defaultCertificate } = options;
  if (defaultCertificate !== "") args.push("--default-ssl-certificate", defaultCertificate);
  for (const range of options.authAddresses) args.push("--auth-address", range);
  args.push("--first-byte-timeout", options.firstByteTimeout, "--log-level", options.logLevel);
  if (options.natsUrl !== "") args.push("--nats-url", options.natsUrl);
  if (options.natsAuth !== "") args.push("--nats-auth", options.natsAuth);
  if (options.natsCa !== undefined) args.push("--nats-ca", options.natsCa);
  args.push("--nats-replicas", String(options.natsReplicas));
  if (options.processes) args.push("--processes");
  for (const stage of options.without) args.push("--without", stage);
  for (const delayed of options.inject) args.push("--inject", delayed.join("="));
  const child = spawn(process.execPath, ["--disable-warning=ExperimentalWarning", sluiceEntry(), ...args], {
    stdio: ["ignore", "pipe", "inherit"],
    env: { ...process.env, SLUICE_LAUNCHER_PID: String(process.pid), [LOCK_HOLDER]: String(process.pid) },
  });
  const ended = new Promise<string>((resolve) => {
    child.once("error", (error) => resolve(error.message));
    child.once("exit", (code, killed) => resolve(killed ?? `code ${code}`));
  });
  const stop = () => void child.kill("SIGTERM");
  signal.addEventListener("abort", stop, { once: true });
  const line = await Promise.race([firstLine(child), ended.then(() => null)]);
  if (line === null) {
    signal.throwIfAborted();
    throw new SluiceEndedError(await ended, child.exitCode ?? 1);
  }
  return { run: JSON.parse(line) as RunFile, child, ended };
}

function sluiceEntry(): string {
  return join(root, "packages/cli/src/main.ts");
}

function kubeconfig(sandbox: Sandbox, name: string): string {
  const file = sandbox.kubeconfigs.get(name);
  if (file === undefined) throw new Error(`the sandbox has no cluster ${name}`);
  return file;
}

async function firstLine(child: ChildProcess): Promise<string> {
  if (child.stdout === null) throw new Error("sluice up has no stdout");
  for await (const line of createInterface({ input: child.stdout })) return line;
  return new Promise<string>(() => {});
}

async function stopChild(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exited = new Promise<void>((resolve) => child.once("exit", () => resolve()));
  child.kill("SIGTERM");
  const late = setTimeout(() => child.kill("SIGKILL"), STOP_MS);
  await exited;
  clearTimeout(late);
}
