import { rm } from "node:fs/promises";
import { join } from "node:path";
import { type CertificateFiles, writeCertificates } from "./certificates.ts";
import type { Tool } from "./ensure-tool.ts";
import { freePort } from "./free-port.ts";
import { type NatsServer, startNatsServer } from "./nats-server.ts";

export interface NatsClusterOptions {
  /** `nats-server-cluster` of ensureTool. */
  readonly tool: Tool;
  /** Each server has a folder in it. */
  readonly dir: string;
  /** More of each server's configuration, e.g. who may do what. */
  readonly configuration?: string;
  /** Stops waiting for readiness; the servers themselves are ended by `close()`. */
  readonly signal: AbortSignal;
}

/** One server of a cluster, over any number of its lives. */
export interface NatsNode {
  /** Its name in the cluster, e.g. `n1`; leaders are told by it. */
  readonly name: string;
  readonly url: string;
  readonly port: number;
  /** null: it is down. */
  readonly pid: number | null;
  start(): Promise<void>;
  /** SIGTERM: in order. */
  stop(): Promise<void>;
  /** SIGKILL: as a machine that loses power. */
  kill(): Promise<void>;
  /** Removes what it stored; it must be down. */
  wipe(): Promise<void>;
  /** It runs, and its copy of every stream is up to date. */
  healthy(): Promise<boolean>;
}

export interface NatsCluster extends AsyncDisposable {
  readonly nodes: readonly NatsNode[];
  /** All addresses, separated by commas. */
  readonly url: string;
  readonly certificates: CertificateFiles;
  close(): Promise<void>;
}

const NODES = 3;

/** Three nats-servers on loopback that are one bus; clients and servers speak TLS. @throws ChildExitedError, StartTimeoutError */
export async function startNatsCluster(options: NatsClusterOptions): Promise<NatsCluster> {
  const certificates = await writeCertificates(join(options.dir, "certificates"));
  const ports = await Promise.all(
    Array.from({ length: NODES }, async () => ({
      client: await freePort(),
      route: await freePort(),
      monitor: await freePort(),
    })),
  );
  const routes = ports.map(({ route }) => `nats-route://127.0.0.1:${route}`);
  const nodes = ports.map(({ client, route, monitor }, i) =>
    clusterNode(options, `n${i + 1}`, client, monitor, [
      clusterSection(i, route, routes, certificates),
      `http: "127.0.0.1:${monitor}"\n`,
    ]),
  );
  const close = async () => {
    await Promise.all(nodes.map((node) => node.stop()));
  };
  try {
    await Promise.all(nodes.map((node) => node.start()));
  } catch (error) {
    await close();
    throw error;
  }
  return {
    nodes,
    url: nodes.map(({ url }) => url).join(","),
    certificates,
    close,
    [Symbol.asyncDispose]: close,
  };
}

function clusterSection(
  i: number,
  route: number,
  routes: readonly string[],
  { ca, cert, key }: CertificateFiles,
): string {
  const tls = { cert_file: cert, key_file: key, ca_file: ca };
  const others = routes.filter((_, at) => at !== i);
  const cluster = {
    name: "sluice",
    listen: `127.0.0.1:${route}`,
    routes: others,
    // Clients keep to the addresses that they were given, which may lead over a proxy of a test's.
    no_advertise: true,
    tls: { ...tls, timeout: 5 },
  };
  return [
    `server_name: n${i + 1}`,
    `tls: ${JSON.stringify({ ...tls, timeout: 5 })}`,
    `cluster: ${JSON.stringify(cluster)}`,
    "",
  ].join("\n");
}

function clusterNode(
  options: NatsClusterOptions,
  name: string,
  port: number,
  monitor: number,
  sections: readonly string[],
): NatsNode {
  const { tool, dir, signal, configuration = "" } = options;
  const storeDir = join(dir, name);
  let server: NatsServer | null = null;
  const alive = () =>
    server !== null && server.process.exitCode === null && server.process.signalCode === null;
  return {
    name,
    url: `nats://127.0.0.1:${port}`,
    port,
    get pid() {
      return alive() ? (server?.pid ?? null) : null;
    },
    async start() {
      if (alive()) return;
      const all = [...sections, configuration].join("");
      server = await startNatsServer({ tool, storeDir, port, configuration: all, signal });
    },
    async stop() {
      await server?.close();
    },
    async kill() {
      if (server === null || !alive()) return;
      server.process.kill("SIGKILL");
      await server.exited;
    },
    async healthy() {
      const limit = AbortSignal.timeout(2000);
      const answer = await fetch(`http://127.0.0.1:${monitor}/healthz`, { signal: limit }).catch(() => null);
      return answer?.ok ?? false;
    },
    async wipe() {
      if (alive()) throw new Error(`${name} runs: stop it before its storage is removed`);
      await rm(join(storeDir, "jetstream"), { recursive: true, force: true });
    },
  };
}
