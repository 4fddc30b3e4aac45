import { lookup } from "node:dns/promises";
import { mkdirSync } from "node:fs";
import { isIP } from "node:net";
import { availableParallelism } from "node:os";
import { join, resolve } from "node:path";
import { aggregator } from "@sluice/aggregator";
import { configRenderer } from "@sluice/config-renderer";
import { roles, SluiceError, StartTimeoutError } from "@sluice/contracts";
import { connectCluster } from "@sluice/kube";
import { memberWatcher } from "@sluice/member-watcher";
import { ensureTool, freePort, type Tool } from "@sluice/native-tools";
import { propagator } from "@sluice/propagator";
import { prepareNginx, proxyAgent, proxyFlagsOf } from "@sluice/proxy-agent";
import { type FleetKeyFiles, writeFleetKey } from "@sluice/sealing";
import { type AnyService, slept, systemClock } from "@sluice/service-kit";
import { topologyGateway } from "@sluice/topology-gateway";
import { busCredentials } from "./bus-credentials.ts";
import { endLeftovers } from "./leftovers.ts";
import { portFree, takeHttpsPort } from "./listener.ts";
import { natsPart, nginxPart, type Part, processPart, servicePart } from "./parts.ts";
import { type RunFile, removeRunFile, writeRunFile } from "./run-file.ts";
import { HTTP_PORT, type PartName } from "./run-settings.ts";
import { LOCK_HOLDER, lockState } from "./state-lock.ts";
import type { Steps } from "./steps.ts";
import type { UpOptions } from "./up-options.ts";

/** How long services may take to become ready before `up` says what they wait for and goes on. */
const READY_MS = 15_000;
/** The same where a part was left out on purpose: some of the rest will never be. */
const READY_WITHOUT_MS = 3000;
const STOP_MS = 8000;

export interface UpEvents {
  readonly steps: Steps;
  /** All that can be reached; called once. */
  ready(run: RunFile): void;
}

/** Where each service's entry is, for a process of its own. */
const entries: Readonly<Record<string, string>> = {
  "member-watcher": "@sluice/member-watcher/main",
  aggregator: "@sluice/aggregator/main",
  "config-renderer": "@sluice/config-renderer/main",
  "proxy-agent": "@sluice/proxy-agent/main",
  "topology-gateway": "@sluice/topology-gateway/main",
  propagator: "@sluice/propagator/main",
};

/**
 * Runs Sluice on the given clusters until the signal aborts, then ends everything in order: services first, then
 * nginx, then the bus.
 * @throws SluiceError with what went wrong and what to do
 */
export async function up(options: UpOptions, events: UpEvents, signal: AbortSignal): Promise<void> {
  const { steps } = events;
  const stateDir = resolve(options.stateDir);
  const logs = join(stateDir, "logs");
  using _lock = lockState(stateDir, process.env[LOCK_HOLDER]);
  mkdirSync(logs, { recursive: true, mode: 0o700 });
  await endLeftovers(stateDir);
  const without = new Set<PartName>(options.without);
  const httpAddress = `127.0.0.1:${options.httpPort}`;
  await portFree("127.0.0.1", options.httpPort, "--http-port");
  await portFree("127.0.0.1", options.gatewayPort, "--gateway-port");
  const httpsPort = await takeHttpsPort(options.httpsPort, options.httpPort === HTTP_PORT);
  const httpsAddress = httpsPort === null ? null : `127.0.0.1:${httpsPort}`;
  await readKubeconfigs(options);

  const tools = await steps.run(
    "nginx and nats-server",
    async () => {
      const log = (message: string) => steps.note(`  ${message}`);
      const wanted = [
        ensureTool("nginx", { signal, log }),
        options.natsUrl === "" ? ensureTool("nats-server", { signal, log }) : null,
      ] as const;
      const missing = (await Promise.allSettled(wanted)).filter((each) => each.status === "rejected");
      // Both at once, so that a person installs once.
      for (const { reason } of missing.slice(1)) steps.note(`  ${(reason as Error).message}`);
      const [nginx, nats] = await Promise.all(wanted);
      return { nginx, nats };
    },
    ({ nginx, nats }) => `${nginx.version}, ${nats?.version ?? `the bus at ${options.natsUrl}`}`,
  );

  const failed = Promise.withResolvers<never>();
  failed.promise.catch(() => {});
  const parts: Part[] = [];
  const stopAll = async () => {
    // Services in one go, then nginx, then the bus: nobody is left talking to somebody who is gone.
    const [bus, proxy, services] = [[], [], []] as [Part[], Part[], Part[]];
    for (const part of parts)
      (part.name === "nats" ? bus : part.name === "nginx" ? proxy : services).push(part);
    for (const group of [services, proxy, bus]) await Promise.all(group.map((part) => part.stop(STOP_MS)));
  };
  try {
    const natsPort = await freePort();
    const auth = await busCredentials(join(stateDir, "nats-auth"), options);
    const nats =
      tools.nats === null
        ? null
        : natsPart({
            tool: tools.nats,
            storeDir: join(stateDir, "nats"),
            port: natsPort,
            configuration: auth.configuration,
            signal,
          });
    const natsUrl = nats?.address ?? options.natsUrl;
    if (nats !== null && !without.has("nats")) {
      parts.push(nats);
      await steps.run(
        "bus",
        () => nats.start(),
        () => nats.address,
      );
    }
    const nginxDir = join(stateDir, "proxy");
    if (!without.has("nginx") || !without.has("proxy-agent")) {
      const prepared = await prepareNginx(
        nginxOptions(options, nginxDir, tools.nginx, httpAddress, httpsAddress),
      );
      if (!without.has("nginx")) {
        const nginx = nginxPart({ prepared, address: httpAddress, logFile: join(logs, "nginx.log"), signal });
        parts.push(nginx);
        await steps.run(
          "proxy",
          () => nginx.start(),
          () => `http://${httpAddress}`,
        );
      }
    }
    const services = await serviceParts(options, {
      nats: natsUrl,
      busFlags: auth.flagsOf,
      fleetKey: await writeFleetKey(join(stateDir, "fleet-key")),
      nginxDir,
      logs,
      signal,
    });
    // A replica goes by the name of its service.
    const left = (name: string) => !without.has(name.replace(/-[0-9]+$/, "") as PartName);
    const wanted = services.filter(({ name }) => left(name));
    parts.push(...wanted);
    for (const part of wanted) part.onFailure((error) => failed.reject(error));
    await steps.run("services", () =>
      Promise.race([
        startServices(wanted, without.size > 0 ? READY_WITHOUT_MS : READY_MS, steps, signal),
        failed.promise,
      ]),
    );
    const run = (): RunFile => ({
      pid: process.pid,
      startedAt,
      stateDir,
      proxy: {
        http: `http://${httpAddress}`,
        ...(httpsAddress === null ? {} : { https: `https://${httpsAddress}` }),
      },
      gateway: `http://127.0.0.1:${options.gatewayPort}`,
      nats: natsUrl,
      natsFiles: auth.operator,
      kubeconfigs: Object.fromEntries([
        ["hub", resolve(options.hub)],
        ...options.members.map(([n, k]) => [n, resolve(k)]),
      ]),
      processes: parts.map(({ name, pid }) => ({ name, pid })),
      probes: Object.fromEntries(
        wanted.flatMap(({ name, probes }) => (probes === null ? [] : [[name, `http://${probes}`]])),
      ),
    });
    const startedAt = new Date().toISOString();
    writeRunFile(run());
    const startAgain = () => {
      for (const part of parts) {
        if (part.running) continue;
        part.start().then(
          () => writeRunFile(run()),
          (error: Error) => steps.note(`${part.name} does not start: ${error.message}`),
        );
      }
    };
    process.on("SIGUSR2", startAgain);
    for (const part of parts) {
      part.onExit((why) => {
        if (signal.aborted) return;
        steps.note(
          `${part.name} ended (${why}); its log: ${part.logFile}. Start it again: kill -USR2 ${process.pid}`,
        );
        writeRunFile(run());
      });
    }
    events.ready(run());
    try {
      await Promise.race([untilAborted(signal), failed.promise]);
    } finally {
      process.off("SIGUSR2", startAgain);
    }
  } finally {
    await stopAll();
    removeRunFile(stateDir);
  }
}

function nginxOptions(
  options: UpOptions,
  dir: string,
  tool: Tool,
  httpAddress: string,
  httpsAddress: string | null,
) {
  return {
    dir,
    tool,
    httpAddress,
    ...(httpsAddress === null ? {} : { httpsAddress }),
    workers: Math.min(availableParallelism(), 4),
    firstByteTimeoutMs: options.firstByteTimeout,
    ...proxyFlagsOf(options),
    unsaidAccessLog: "file" as const,
  };
}

async function startServices(
  services: readonly Part[],
  readyMs: number,
  steps: Steps,
  signal: AbortSignal,
): Promise<void> {
  await Promise.all(services.map((part) => part.start()));
  const deadline = performance.now() + readyMs;
  const waiting = async () => {
    const states = await Promise.all(
      services.map(async (part) => [part.name, await part.waiting()] as const),
    );
    return states.filter(([, why]) => why !== null);
  };
  for (let open = await waiting(); open.length > 0; open = await waiting()) {
    if (performance.now() > deadline) {
      for (const [name, why] of open)
        steps.note(`  ${name} is not ready: ${why?.trim().replaceAll("\n", "; ")}`);
      return;
    }
    if (!(await slept(systemClock, 20, signal))) return;
  }
}

interface Wiring {
  readonly nats: string;
  /** How a service and the bus know each other, as flags. */
  busFlags(service: string): readonly string[];
  readonly nginxDir: string;
  readonly fleetKey: FleetKeyFiles;
  readonly logs: string;
  readonly signal: AbortSignal;
}

/** What each service is started with; the same arguments in one process and in many. */
async function serviceParts(options: UpOptions, wiring: Wiring): Promise<Part[]> {
  const { hub, members } = options;
  const many = (flag: string, values: readonly string[]) => values.flatMap((value) => [flag, value]);
  const memberFlags = many(
    "--member",
    members.map(([name, file]) => `${name}=${resolve(file)}`),
  );
  const peers = many(
    "--peers",
    options.peers.map(([name, cidrs]) => `${name}=${cidrs}`),
  );
  const bus = ["--nats-url", wiring.nats];
  const hubFlag = ["--hub", resolve(hub)];
  const refused = many("--refuse-peer", await hubAddresses(hub, wiring.signal));
  const { defaultCertificate } = options;
  const sealedFor = [
    ...["--fleet-key", wiring.fleetKey.publicFile],
    ...(defaultCertificate === "" ? [] : ["--default-ssl-certificate", defaultCertificate]),
  ];
  const opens = ["--fleet-key", wiring.fleetKey.privateFile];
  const classes = many("--ingress-class", options.ingressClasses);
  const published = many("--publish-address", options.publishAddresses);
  const config = options.configMap === "" ? [] : ["--configmap", options.configMap];
  const asked = many("--auth-address", options.authAddresses);
  const names = many(
    "--member",
    members.map(([name]) => name),
  );
  const propagates = await runsPropagator(options, wiring.signal);
  const expected = roles.filter((role) => propagates || role !== "propagator");
  const plans: [AnyService, string[]][] = [
    [
      topologyGateway,
      [...bus, "--gateway-port", String(options.gatewayPort), "--expect", expected.join(",")],
    ],
    [memberWatcher, [...bus, ...memberFlags]],
    [aggregator, [...bus, ...hubFlag, ...names, ...peers, ...refused]],
    [configRenderer, [...bus, ...hubFlag, ...peers, ...classes, ...published, ...config, ...sealedFor]],
    [proxyAgent, [...bus, "--nginx-dir", wiring.nginxDir, ...peers, ...refused, ...asked, ...opens]],
  ];
  if (propagates) plans.push([propagator, [...bus, ...hubFlag, ...memberFlags]]);
  const injected = new Map(options.inject);
  const replicas = new Map<string, number>(options.replicas);
  const named = plans.flatMap(([service, args]) =>
    Array.from({ length: replicas.get(service.name) ?? 1 }, (_, n) => {
      return { service, args, name: n === 0 ? service.name : `${service.name}-${n + 1}` };
    }),
  );
  return Promise.all(
    named.map(async ({ service, args, name }) => {
      const delay = injected.get(service.name as PartName);
      const logFile = join(wiring.logs, `${name}.log`);
      const all = [
        "--log-level",
        options.logLevel,
        ...(delay === undefined ? [] : ["--inject-delay", delay]),
        ...wiring.busFlags(service.name),
        ...args,
      ];
      if (!options.processes)
        return servicePart({ name, service, args: ["--probe-port", "0", ...all], logFile });
      const entry = import.meta.resolve(entries[service.name] ?? "");
      return processPart({ name, entry, args: all, probePort: await freePort(), logFile });
    }),
  );
}

/** @throws KubeconfigError before anything has been started; whether the clusters answer is seen later */
async function readKubeconfigs({ hub, members }: UpOptions): Promise<void> {
  const files = [["hub", hub] as const, ...members];
  await Promise.all(
    files.map(async ([name, kubeconfig]) => (await connectCluster({ name, kubeconfig })).close()),
  );
}

/** Addresses of the hub's API server: a member that offers them as peers would have requests sent there. */
async function hubAddresses(kubeconfig: string, signal: AbortSignal): Promise<string[]> {
  const client = await connectCluster({ name: "hub", kubeconfig });
  const host = new URL(client.server).hostname.replace(/^\[|\]$/g, "");
  client.close();
  signal.throwIfAborted();
  if (isIP(host) !== 0) return [host];
  const found = await lookup(host, { all: true }).catch(() => []);
  return found.map(({ address }) => address);
}

/** Karmada has a propagator of its own; it serves these kinds on its API. */
async function runsPropagator(options: UpOptions, signal: AbortSignal): Promise<boolean> {
  if (options.propagator !== "auto") return options.propagator === "on";
  const client = await connectCluster({ name: "hub", kubeconfig: options.hub });
  try {
    const timed = AbortSignal.any([signal, AbortSignal.timeout(5000)]);
    return (await client.discover("work.karmada.io/v1alpha2", "ResourceBinding", timed)) === null;
  } catch (error) {
    if (signal.aborted) throw error;
    if (!(error instanceof SluiceError))
      throw new StartTimeoutError(`the hub did not answer: ${String(error)}`);
    throw error;
  } finally {
    client.close();
  }
}

/** Waits on the signal alone. The timer holds the process: with every child down nothing else would. */
async function untilAborted(signal: AbortSignal): Promise<void> {
  while (await slept(systemClock, 3_600_000, signal));
}
