import { appendFileSync } from "node:fs";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { busCredentials, type UpCredentials } from "@sluice/cli";
import { connectCluster, type KubeClient, type KubeObject, resources } from "@sluice/kube";
import { podRangeOf, type Sandbox, startSandbox } from "@sluice/kube-sandbox";
import { ensureTool, type Tool } from "@sluice/native-tools";
import { applyFile } from "../integration/clusters.ts";
import { type ChaosBus, ClusterBus, SingleBus } from "./bus-server.ts";
import { hostOf } from "./load.ts";
import { Members, NAMESPACE } from "./members.ts";
import { NginxProxy } from "./nginx-proxy.ts";
import type { Shape } from "./schedule.ts";
import { ServiceProcess } from "./service-process.ts";
import { steadyPort } from "./steady-port.ts";
import { Link } from "./tcp-proxy.ts";

export interface WorldOptions {
  /** Everything that the world writes goes there. */
  readonly dir: string;
  readonly signal: AbortSignal;
  /** One nats-server, or three with TLS that are one bus. */
  readonly bus: "single" | "cluster";
  /** Processes of each role that works are shared out among. */
  readonly processes: Readonly<Record<"watchers" | "aggregators" | "renderers", number>>;
}

const MEMBERS = ["member1", "member2", "member3"] as const;
const SERVICES = ["cart", "catalog", "orders", "search"] as const;
const PROXIES = ["proxy-1", "proxy-2"] as const;
const BUS = "bus";
const entries = {
  "member-watcher": import.meta.resolve("@sluice/member-watcher/main"),
  aggregator: import.meta.resolve("@sluice/aggregator/main"),
  "config-renderer": import.meta.resolve("@sluice/config-renderer/main"),
  "proxy-agent": import.meta.resolve("@sluice/proxy-agent/main"),
  "topology-gateway": import.meta.resolve("@sluice/topology-gateway/main"),
} as const;

/**
 * Sluice as processes on a hub, members, a bus and two proxies of the test's own, every connection of which to bus and
 * APIs the test holds in its hand.
 */
export class World implements AsyncDisposable {
  readonly dir: string;
  readonly signal: AbortSignal;
  readonly services = new Map<string, ServiceProcess>();
  readonly links = new Map<string, Link>();
  readonly proxies: NginxProxy[] = [];
  readonly problems: string[] = [];
  #members: Members | null = null;
  #bus: ChaosBus | null = null;
  #sandbox: Sandbox | null = null;
  #hub: KubeClient | null = null;
  #credentials: UpCredentials | null = null;
  #gateway = "";
  readonly #stack = new AsyncDisposableStack();

  private constructor(options: WorldOptions) {
    this.dir = options.dir;
    this.signal = options.signal;
  }

  static async start(options: WorldOptions): Promise<World> {
    const world = new World(options);
    try {
      await world.#start(options);
    } catch (error) {
      await world[Symbol.asyncDispose]();
      throw error;
    }
    return world;
  }

  get members(): Members {
    return started(this.#members);
  }

  get bus(): ChaosBus {
    return started(this.#bus);
  }

  /** Everybody who talks to the bus has a credential of its own, as `npm start` gives them. */
  get credentials(): UpCredentials {
    return started(this.#credentials);
  }

  get sandbox(): Sandbox {
    return started(this.#sandbox);
  }

  get hub(): KubeClient {
    return started(this.#hub);
  }

  /** `http://127.0.0.1:PORT` */
  get gateway(): string {
    return this.#gateway;
  }

  /** Where a process, or the test itself, reaches the bus. No fault is ever put on the test's own links. */
  busUrl(from: string): string {
    return this.#busNames()
      .map((name) => `nats://127.0.0.1:${this.link(`${from}→${name}`).port}`)
      .join(",");
  }

  /** What the servers of the bus are called in names of links. */
  #busNames(): string[] {
    const { ports } = this.bus;
    return ports.length === 1 ? [BUS] : ports.map((_, i) => `${BUS}-${i + 1}`);
  }

  get shape(): Shape {
    return {
      services: [...this.services.keys()],
      links: [...this.links.keys()].filter((name) => !name.startsWith("test→")),
      members: MEMBERS,
      proxies: PROXIES,
      busNodes: this.bus.ports.length,
    };
  }

  link(name: string): Link {
    const link = this.links.get(name);
    if (link === undefined) throw new Error(`there is no link ${name}`);
    return link;
  }

  /** Links to one API, or to the bus. */
  linksTo(where: string): Link[] {
    return [...this.links].filter(([name]) => name.endsWith(`→${where}`)).map(([, link]) => link);
  }

  /** Links of one process. */
  linksFrom(process: string): Link[] {
    return [...this.links].filter(([name]) => name.startsWith(`${process}→`)).map(([, link]) => link);
  }

  /** A line in the world's own log, beside those of the processes. */
  note(what: string): void {
    appendFileSync(join(this.dir, "logs", "chaos.log"), `${new Date().toISOString()} ${what}\n`);
  }

  async #start(options: WorldOptions): Promise<void> {
    const { dir, signal } = this;
    await mkdir(join(dir, "logs"), { recursive: true });
    const [nginx, nats] = await Promise.all([
      ensureTool("nginx", { signal }),
      ensureTool(options.bus === "single" ? "nats-server" : "nats-server-cluster", { signal }),
    ]);
    const sandbox = await startSandbox({ members: MEMBERS.length, stateDir: dir, signal, workloads: false });
    this.#stack.defer(() => sandbox.close());
    this.#sandbox = sandbox;
    const clients = new Map<string, KubeClient>();
    for (const [name, kubeconfig] of sandbox.kubeconfigs) {
      const client = await connectCluster({ name, kubeconfig });
      this.#stack.defer(() => client.close());
      clients.set(name, client);
    }
    const hub = clients.get("hub");
    if (hub === undefined) throw new Error("the sandbox has no hub");
    this.#hub = hub;
    clients.delete("hub");

    this.#credentials = await busCredentials(join(dir, "nats-auth"), {
      members: MEMBERS.map((name) => [name, ""] as const),
      natsUrl: "",
      natsAuth: "",
      natsCa: undefined,
      natsCert: undefined,
      natsKey: undefined,
      natsReplicas: options.bus === "cluster" ? 3 : 1,
    });
    await this.#startBus(options.bus, nats);
    await this.#addBusLinks("test");

    this.#members = this.#stack.use(new Members(clients, SERVICES, signal));
    await this.#prepareClusters(hub, clients);
    await this.members.prepare();
    await this.#firstPods();

    const taken = new Set<number>();
    for (const name of PROXIES) {
      const proxy = this.#stack.use(
        await NginxProxy.prepare({
          name,
          dir: join(dir, name),
          tool: nginx,
          port: await steadyPort(taken),
          logFile: join(dir, "logs", `${name}-nginx.log`),
          signal,
          onProblem: (what) => this.#problem(what),
        }),
      );
      this.proxies.push(proxy);
      await proxy.start();
    }
    await this.#startServices(options, await steadyPort(taken));
  }

  async #startBus(kind: WorldOptions["bus"], tool: Tool): Promise<void> {
    const options = {
      tool,
      storeDir: join(this.dir, "nats"),
      signal: this.signal,
      configuration: this.credentials.configuration,
      onPort: (port: number) => {
        for (const link of this.linksTo(BUS)) link.target = port;
      },
      onProblem: (what: string) => this.#problem(what),
    };
    if (kind === "cluster") {
      this.#bus = this.#stack.use(await ClusterBus.start(options));
      return;
    }
    const bus = this.#stack.use(new SingleBus(options));
    await bus.start();
    this.#bus = bus;
  }

  async #addBusLinks(from: string): Promise<void> {
    for (const [i, name] of this.#busNames().entries()) {
      await this.#addLink(from, name, this.bus.ports[i] ?? 0);
    }
  }

  #problem(what: string): void {
    this.problems.push(what);
    this.note(`PROBLEM ${what}`);
  }

  async #addLink(from: string, to: string, target: number): Promise<Link> {
    const name = `${from}→${to}`;
    const link = this.#stack.use(await Link.to(name, target));
    this.links.set(name, link);
    return link;
  }

  /** A kubeconfig of a cluster for one process, whose server is a link of that process's own. */
  async #kubeconfigFor(process: string, cluster: string): Promise<string> {
    const api = this.sandbox.clusters.get(cluster);
    if (api === undefined) throw new Error(`there is no cluster ${cluster}`);
    const link = await this.#addLink(process, cluster, Number(new URL(api.url).port));
    const file = join(this.dir, "kubeconfig", `${cluster}-for-${process}`);
    const server = `http://127.0.0.1:${link.port}`;
    const config = {
      apiVersion: "v1",
      kind: "Config",
      "current-context": cluster,
      clusters: [{ name: cluster, cluster: { server } }],
      contexts: [{ name: cluster, context: { cluster, user: cluster } }],
      users: [{ name: cluster, user: {} }],
    };
    await writeFile(file, JSON.stringify(config), { mode: 0o600 });
    return file;
  }

  async #startServices(options: WorldOptions, gatewayPort: number): Promise<void> {
    const peers = MEMBERS.flatMap((name, i) => ["--peers", `${name}=${podRangeOf(i + 1)}`]);
    const starting: Promise<void>[] = [];
    const add = async (name: string, service: keyof typeof entries, args: readonly string[]) => {
      await this.#addBusLinks(name);
      const { ca } = this.bus;
      const process = new ServiceProcess({
        name,
        service,
        entry: entries[service],
        args: [
          "--log-level",
          "debug",
          "--nats-url",
          this.busUrl(name),
          ...(ca === null ? [] : ["--nats-ca", ca]),
          ...this.credentials.flagsOf(service),
          ...args,
        ],
        logFile: join(this.dir, "logs", `${name}.log`),
        onProblem: (what) => this.#problem(what),
      });
      this.services.set(name, process);
      const begun = process.start(this.signal);
      // Waited for below, after other awaits: a failure must not count as one that nobody handles.
      begun.catch(() => {});
      starting.push(begun);
    };
    this.#stack.defer(() => this.#endServices());
    const numbered = (role: string, count: number) =>
      Array.from({ length: count }, (_, i) => `${role}-${i + 1}`);
    for (const name of numbered("member-watcher", options.processes.watchers)) {
      const flags: string[] = [];
      for (const member of MEMBERS) {
        flags.push("--member", `${member}=${await this.#kubeconfigFor(name, member)}`);
      }
      await add(name, "member-watcher", flags);
    }
    for (const name of numbered("aggregator", options.processes.aggregators)) {
      const members = MEMBERS.flatMap((member) => ["--member", member]);
      const hub = await this.#kubeconfigFor(name, "hub");
      await add(name, "aggregator", ["--hub", hub, ...members, ...peers]);
    }
    for (const name of numbered("config-renderer", options.processes.renderers)) {
      const hub = await this.#kubeconfigFor(name, "hub");
      await add(name, "config-renderer", ["--hub", hub, ...peers]);
    }
    for (const { name, dir } of this.proxies) {
      await add(`agent-of-${name}`, "proxy-agent", ["--proxy", name, "--nginx-dir", dir, ...peers]);
    }
    const expected = "member-watcher,aggregator,config-renderer,proxy-agent,topology-gateway";
    await add("topology-gateway", "topology-gateway", [
      "--gateway-port",
      String(gatewayPort),
      "--expect",
      expected,
    ]);
    await Promise.all(starting);
    this.#gateway = `http://127.0.0.1:${gatewayPort}`;
  }

  async #endServices(): Promise<void> {
    for (const link of this.links.values()) link.heal();
    await Promise.all([...this.services.values()].map((service) => service.end()));
  }

  async #prepareClusters(hub: KubeClient, members: ReadonlyMap<string, KubeClient>): Promise<void> {
    const { signal } = this;
    const namespace = { apiVersion: "v1", kind: "Namespace", metadata: { name: NAMESPACE } };
    const mcs = "deploy/crds/multicluster.x-k8s.io";
    for (const client of members.values()) {
      await client.apply(namespace, { fieldManager: "chaos" }, signal);
      await applyFile(client, `${mcs}_serviceexports.yaml`, signal);
    }
    await hub.apply(namespace, { fieldManager: "chaos" }, signal);
    await applyFile(hub, `${mcs}_serviceimports.yaml`, signal);
    await applyFile(hub, "deploy/crds/networking.karmada.io_multiclusteringresses.yaml", signal);
    for (const [client, plural] of [
      [hub, resources.serviceImport],
      [hub, resources.multiClusterIngress],
      ...[...members.values()].map((client) => [client, resources.serviceExport] as const),
    ] as const) {
      // A kind may come into service a moment after its CRD.
      while ((await client.discover(`${plural.group}/${plural.version}`, plural.kind, signal)) === null) {
        await new Promise((resolve) => setTimeout(resolve, 10));
      }
    }
    for (const service of SERVICES) {
      const metadata = { name: service, namespace: NAMESPACE };
      await hub.apply(
        {
          apiVersion: "multicluster.x-k8s.io/v1alpha1",
          kind: "ServiceImport",
          metadata,
          spec: { type: "ClusterSetIP", ports: [{ name: "http", port: 80, protocol: "TCP" }] },
        } as KubeObject,
        { fieldManager: "chaos" },
        signal,
      );
      const backend = { service: { name: service, port: { number: 80 } } };
      await hub.apply(
        {
          apiVersion: "networking.karmada.io/v1alpha1",
          kind: "MultiClusterIngress",
          metadata,
          spec: {
            ingressClassName: "nginx",
            rules: [{ host: hostOf(service), http: { paths: [{ path: "/", pathType: "Prefix", backend }] } }],
          },
        } as KubeObject,
        { fieldManager: "chaos" },
        signal,
      );
    }
  }

  /** Every service has two pods in two members that export it. */
  async #firstPods(): Promise<void> {
    for (const [i, service] of SERVICES.entries()) {
      for (const cluster of [MEMBERS[i % 3], MEMBERS[(i + 1) % 3]]) {
        if (cluster === undefined) continue;
        await this.members.export(service, cluster);
        await this.members.add(service, cluster);
        await this.members.add(service, cluster);
      }
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stack.disposeAsync();
  }
}

function started<T>(part: T | null): T {
  if (part === null) throw new Error("the world has not started yet");
  return part;
}
