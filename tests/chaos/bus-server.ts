import { rm } from "node:fs/promises";
import { join } from "node:path";
import { type NatsServer, startNatsServer, type Tool } from "@sluice/native-tools";

interface BusOptions {
  readonly tool: Tool;
  readonly storeDir: string;
  readonly signal: AbortSignal;
  /** Told the port at every start: it is another one each time. */
  onPort(port: number): void;
  onProblem(what: string): void;
}

/** The bus of a world, which may be killed and may lose what it has stored. */
export interface ChaosBus extends AsyncDisposable {
  readonly nodes: number;
  kill(node: number): Promise<void>;
  /** Removes what a node that is down has stored. */
  wipe(node: number): Promise<void>;
  start(node: number): Promise<void>;
}

/** One nats-server. */
export class SingleBus implements ChaosBus {
  readonly nodes = 1;
  readonly #options: BusOptions;
  #server: NatsServer | null = null;
  #asked = false;

  constructor(options: BusOptions) {
    this.#options = options;
  }

  async start(): Promise<void> {
    const { tool, storeDir, signal, onPort, onProblem } = this.#options;
    const server = await startNatsServer({ tool, storeDir, signal });
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

  async [Symbol.asyncDispose](): Promise<void> {
    this.#asked = true;
    await this.#server?.close();
  }
}
