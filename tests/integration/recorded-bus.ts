import { spawn } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { jetstreamManager } from "@nats-io/jetstream";
import { connect } from "@nats-io/transport-node";
import { type AggregatorPorts, runAggregator } from "@sluice/aggregator";
import { type Bus, type BusLog, connectBus } from "@sluice/bus";
import {
  clustersTable,
  type ExportRecord,
  plainKeys,
  type SliceRecord,
  sliceKeys,
  slicesTable,
  type TopologyPeers,
  topologyKeys,
  topologyTable,
} from "@sluice/contracts";
import { ensureTool, type NatsServer, startNatsServer } from "@sluice/native-tools";
import { createKit, type Kit } from "@sluice/service-kit";
import { runTopologyGateway } from "@sluice/topology-gateway";
import { eventually } from "./clusters.ts";

const cli = fileURLToPath(new URL("../../packages/cli/src/main.ts", import.meta.url));
const forever = new AbortController().signal;

type Past = NonNullable<Parameters<typeof runAggregator>[1]["past"]>;

export interface CliAnswer {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** What a member's watcher would publish, said by the test. */
export interface Member {
  /** shop/<service> with these peers; null: it is no longer exported. */
  says(service: string, addresses: readonly string[] | null): Promise<void>;
  stop(): Promise<void>;
}

/** A nats-server of its own, and processes that live on it, each with a connection of its own. */
export class RecordedBus implements AsyncDisposable {
  readonly #dir: string;
  readonly #server: NatsServer;
  readonly #stops = new Set<() => Promise<void>>();
  readonly #reader: Bus;
  readonly #ending = new AbortController();
  readonly topology;

  private constructor(dir: string, server: NatsServer, reader: Bus) {
    this.#dir = dir;
    this.#server = server;
    this.#reader = reader;
    this.topology = reader.view(topologyTable);
  }

  static async start(): Promise<RecordedBus> {
    const dir = await mkdtemp(join(tmpdir(), "sluice-recorded-"));
    const tool = await ensureTool("nats-server", { signal: forever });
    const server = await startNatsServer({ tool, storeDir: dir, port: 0, signal: forever });
    const ending = new AbortController();
    const kit = createKit({ service: "test", signal: ending.signal });
    const bus = await connectBus({ url: server.url, name: "operator", kit });
    const started = new RecordedBus(dir, server, bus);
    started.#ending.signal.addEventListener("abort", () => ending.abort(started.#ending.signal.reason));
    return started;
  }

  get url(): string {
    return this.#server.url;
  }

  get signal(): AbortSignal {
    return this.#ending.signal;
  }

  get log(): BusLog {
    return this.#reader.log!;
  }

  /** A process: its bus, and its end, which hands over what it holds. */
  async run(role: string, work: (bus: Bus, kit: Kit) => Promise<unknown>): Promise<() => Promise<void>> {
    const stopping = new AbortController();
    const kit = createKit({ service: role, signal: stopping.signal });
    const bus = await connectBus({ url: this.url, name: role, kit });
    const done = work(bus, { ...kit, signal: bus.signal });
    const stop = async () => {
      this.#stops.delete(stop);
      stopping.abort(new Error("stopped"));
      await done;
      await bus.close();
    };
    this.#stops.add(stop);
    return stop;
  }

  /** A watcher of a cluster whose API the test is: services of the namespace shop with their addresses. */
  async member(cluster: string, services: Readonly<Record<string, readonly string[]>> = {}): Promise<Member> {
    let holder: ReturnType<Bus["hold"]> | undefined;
    // Peers come with their export, and go with it: so each of both is one change of a row.
    const says = async (service: string, addresses: readonly string[] | null) => {
      const at = { cluster, namespace: "shop", service };
      const exportKey = sliceKeys.export(cluster, "shop", service);
      const sliceKey = sliceKeys.slice(cluster, "shop", service, `${service}-1`);
      if (addresses === null) holder?.remove(exportKey);
      else holder?.set(sliceKey, sliceOf(at, addresses));
      await holder?.idle();
      if (addresses === null) holder?.remove(sliceKey);
      else holder?.set(exportKey, exported(at));
      await holder?.idle();
    };
    const fresh = async () => {
      for (const [service, addresses] of Object.entries(services)) await says(service, addresses);
    };
    const stop = await this.run("member-watcher", async (bus) => {
      holder = bus.hold(slicesTable, { scope: cluster, shard: "0" }, { fresh });
      await bus.publish(clustersTable, plainKeys.cluster(cluster), {
        cluster,
        heartbeatAt: Date.now(),
        api: { reachable: true, since: Date.now() },
        labels: {},
        nodeCidrs: ["10.0.0.0/8"],
        waiting: [],
        exports: 1,
        watcher: bus.self,
      });
      await Promise.all([bus.join([cluster]), holder.done]);
    });
    await eventually(`${cluster} is held`, async () => holder?.synced);
    return {
      stop,
      says,
    };
  }

  aggregator(past: Partial<Past> = {}, ports: Partial<AggregatorPorts> = {}): Promise<() => Promise<void>> {
    const log = { maxBytes: 2 ** 30, maxAgeSeconds: 3600 };
    return this.run("aggregator", (bus, kit) =>
      runAggregator(
        { bus, hub: null, ...ports },
        {
          members: [],
          peers: new Map(),
          refused: [],
          past: { log, everyMs: 600_000, everyBytes: 1e9, maxBytes: 1e9, ...past },
        },
        kit,
      ),
    );
  }

  /** Address of a gateway. */
  async gateway(): Promise<string> {
    const listening = Promise.withResolvers<string>();
    await this.run("topology-gateway", (bus, kit) =>
      runTopologyGateway(
        { bus },
        { host: "127.0.0.1", port: 0, expectedRoles: [], onListening: listening.resolve },
        kit,
      ),
    );
    return `http://${await listening.promise}`;
  }

  /** Peers of shop/<service> in a cluster as a reader believes them; null: there is no row. */
  peers(service: string, cluster: string): string[] | null {
    const row = this.topology.get(topologyKeys.peers("shop", service, cluster)) as TopologyPeers | undefined;
    if (row === undefined) return null;
    return Object.values(row.ports).flatMap((peers) => peers.map(({ address }) => address));
  }

  async hasPeers(service: string, cluster: string, wanted: readonly string[] | null): Promise<void> {
    const text = JSON.stringify(wanted);
    await eventually(
      `peers of ${service} in ${cluster}: ${text}`,
      async () => JSON.stringify(this.peers(service, cluster)) === text,
    );
  }

  /** Somebody who has never known anything of `topology`. */
  async reader() {
    const ending = new AbortController();
    const kit = createKit({ service: "test", signal: ending.signal });
    const bus = await connectBus({ url: this.url, name: "operator", kit });
    const topology = bus.view(topologyTable);
    return {
      topology,
      [Symbol.asyncDispose]: async () => {
        ending.abort(new Error("read"));
        await topology.done;
        await bus.close();
      },
    };
  }

  /** Sequence of the log once it has everything of `topology`. */
  async logged(): Promise<number> {
    await eventually("the log is fed", async () => {
      await this.log.caughtUpWith(slicesTable, this.signal);
      await this.log.caughtUpWith(topologyTable, this.signal);
      return true;
    });
    return (await this.log.extent(this.signal)).last;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const stop of [...this.#stops].reverse()) await stop();
    this.#ending.abort(new Error("the test is over"));
    await this.topology.done;
    await this.#reader.close();
    await this.#server.close();
    await rm(this.#dir, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 });
  }
}

/** The server as somebody reaches it who knows nothing of Sluice. */
export async function natsOf(bus: RecordedBus) {
  const connection = await connect({ servers: bus.url });
  return { jsm: await jetstreamManager(connection), close: () => connection.close() };
}

interface At {
  readonly cluster: string;
  readonly namespace: string;
  readonly service: string;
}

function exported(at: At): ExportRecord {
  const ports = [{ name: "http", port: 80, protocol: "TCP" as const }];
  return { ...at, createdAt: 1000, type: "ClusterSetIP", ipFamilies: ["IPv4"], ports };
}

function sliceOf(at: At, addresses: readonly string[]): SliceRecord {
  return {
    ...at,
    slice: `${at.service}-1`,
    addressType: "IPv4",
    ports: [{ name: "http", port: 8080, protocol: "TCP" }],
    endpoints: addresses.map((address) => ({
      addresses: [address],
      ready: true,
      serving: true,
      terminating: false,
    })),
  };
}

/** The command line as a process of its own. */
export function sluice(gateway: string, ...args: string[]): Promise<CliAnswer> {
  const child = spawn(process.execPath, [cli, ...args], {
    env: { ...process.env, SLUICE_GATEWAY: gateway, NO_COLOR: "1" },
    stdio: ["ignore", "pipe", "pipe"],
  });
  const said = { stdout: "", stderr: "" };
  for (const stream of ["stdout", "stderr"] as const) {
    child[stream].on("data", (chunk: Buffer) => {
      said[stream] += chunk.toString("utf8");
    });
  }
  return new Promise((resolve) => child.once("close", (code) => resolve({ code, ...said })));
}
