import { cp, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import {
  type NatsCluster,
  type NatsNode,
  type NatsServer,
  startNatsCluster,
  startNatsServer,
  type Tool,
} from "@sluice/native-tools";

interface BusOptions {
  readonly tool: Tool;
  readonly storeDir: string;
  readonly signal: AbortSignal;
  /** Who may do what on it. */
  readonly configuration: string;
  /** Told the port of a single server at every start: it is another one each time. */
  onPort(port: number): void;
  onProblem(what: string): void;
}

/** Where the servers of a bus listen, and what clients need besides. */
export interface ChaosBus extends AsyncDisposable {
  /** Ports of its servers; a server that is started again may get another one, and says so. */
  readonly ports: readonly number[];
  /** File with the authority that signed its certificates; null: no TLS. */
  readonly ca: string | null;
  kill(node: number): Promise<void>;
  /** Removes what a node that is down has stored. */
  wipe(node: number): Promise<void>;
  /** Keeps a copy of what a node that is down has stored. */
  keepCopy(node: number): Promise<void>;
  /** Puts that copy in the place of what the node, which is down, has stored since. */
  restoreCopy(node: number): Promise<void>;
  start(node: number): Promise<void>;
  /** Servers that are down without having been ended. */
  check(): void;
}

/** One nats-server. */
export class SingleBus implements ChaosBus {
  readonly ca = null;
  readonly #options: BusOptions;
  #server: NatsServer | null = null;
  #asked = false;

  constructor(options: BusOptions) {
    this.#options = options;
  }

  get ports(): readonly number[] {
    return [this.#server?.port ?? 0];
  }

  async start(): Promise<void> {
    const { tool, storeDir, signal, configuration, onPort, onProblem } = this.#options;
    const server = await startNatsServer({ tool, storeDir, signal, configuration });
    this.#asked = false;
    this.#server = server;
    server.process.once("exit", (code, killed) => {
      if (!this.#asked) onProblem(`nats-server ended by itself (${killed ?? `code ${code}`})`);
    });
    onPort(server.port);
  }

  async kill(): Promise<void> {
    this.#asked = true;
    this.#server?.process.kill("SIGKILL");
    await this.#server?.exited;
  }

  async wipe(): Promise<void> {
    await rm(join(this.#options.storeDir, "jetstream"), { recursive: true, force: true });
  }

  async keepCopy(): Promise<void> {
    const { storeDir } = this.#options;
    await cp(join(storeDir, "jetstream"), join(storeDir, "copy"), { recursive: true });
  }

  async restoreCopy(): Promise<void> {
    const { storeDir } = this.#options;
    await this.wipe();
    await rename(join(storeDir, "copy"), join(storeDir, "jetstream"));
  }

  check(): void {
    // The end of its process is told at once.
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#asked = true;
    await this.#server?.close();
  }
}

/** Tries to start a node whose port an outgoing connection may hold for a moment. */
const START_TRIES = 5;

/** Three nats-servers with TLS, every stream on each of them. */
export class ClusterBus implements ChaosBus {
  readonly #options: BusOptions;
  readonly #cluster: NatsCluster;
  readonly #asked = new Set<number>();

  private constructor(options: BusOptions, cluster: NatsCluster) {
    this.#options = options;
    this.#cluster = cluster;
  }

  static async start(options: BusOptions): Promise<ClusterBus> {
    const { tool, storeDir, signal, configuration } = options;
    const cluster = await startNatsCluster({ tool, dir: storeDir, signal, configuration });
    return new ClusterBus(options, cluster);
  }

  get ports(): readonly number[] {
    return this.#cluster.nodes.map(({ port }) => port);
  }

  get ca(): string {
    return this.#cluster.certificates.ca;
  }

  #node(node: number): NatsNode {
    const found = this.#cluster.nodes[node];
    if (found === undefined) throw new RangeError(`the bus has no node ${node}`);
    return found;
  }

  async kill(node: number): Promise<void> {
    this.#asked.add(node);
    await this.#node(node).kill();
  }

  async wipe(node: number): Promise<void> {
    await this.#node(node).wipe();
  }

  keepCopy(): Promise<void> {
    throw new Error("a node of a cluster must not go back in time");
  }

  restoreCopy(): Promise<void> {
    throw new Error("a node of a cluster must not go back in time");
  }

  async start(node: number): Promise<void> {
    for (let tried = 1; ; tried++) {
      try {
        await this.#node(node).start();
        this.#asked.delete(node);
        return;
      } catch (error) {
        if (tried === START_TRIES || this.#options.signal.aborted) throw error;
        await delay(200, undefined, { signal: this.#options.signal });
      }
    }
  }

  check(): void {
    for (const [i, { name, pid }] of this.#cluster.nodes.entries()) {
      if (pid === null && !this.#asked.has(i)) this.#options.onProblem(`nats-server ${name} ended by itself`);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#cluster.close();
  }
}
