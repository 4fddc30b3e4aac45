import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { createServer as createTcpServer, type Server as TcpServer } from "node:net";
import type { PodFault } from "../http/faults.ts";
import type { ImageHandler } from "./images.ts";

/** Keep-alive of an idle connection, milliseconds: longer than proxies keep theirs, so that they close first. */
const KEEP_ALIVE_MS = 75_000;

/**
 * Listened on for as long as a pod has its address: while it refuses connections on its own ports, a pod of another
 * sandbox on this machine would find the address free, and answer in its place for ever.
 */
const CLAIM_PORT = 65_533;

function listening(server: Server | TcpServer, port: number, host: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen({ port, host, backlog: 511 }, resolve);
  });
}

/** The HTTP servers of one pod, on an address of its own. */
export class PodServer {
  readonly address: string;
  readonly #ports: ReadonlyMap<number, ImageHandler>;
  #claim: TcpServer | null = null;
  #servers: Server[] = [];
  #fault: PodFault = "none";
  #draining = false;
  #changes: Promise<void> = Promise.resolve();
  /** Requests that a hanging pod took and does not answer. */
  #held: { readonly port: number; readonly request: IncomingMessage; readonly response: ServerResponse }[] =
    [];
  #open = 0;
  #quietSince = performance.now();

  constructor(address: string, ports: ReadonlyMap<number, ImageHandler>) {
    this.address = address;
    this.#ports = ports;
  }

  /** @throws what listening throws, EADDRINUSE for instance; nothing listens then */
  async listen(): Promise<void> {
    try {
      if (this.#claim === null) {
        const claim = createTcpServer((socket) => socket.destroy());
        await listening(claim, CLAIM_PORT, this.address);
        this.#claim = claim;
      }
      for (const [port, handler] of this.#ports) {
        const server = createServer((request, response) => this.#take(port, handler, request, response));
        server.keepAliveTimeout = KEEP_ALIVE_MS;
        await listening(server, port, this.address);
        this.#servers.push(server);
      }
    } catch (error) {
      await this.close();
      throw error;
    }
  }

  /** Milliseconds since the last request ended; 0 while one is open. */
  get quietMs(): number {
    return this.#open > 0 ? 0 : performance.now() - this.#quietSince;
  }

  /** Faults take effect in the order in which they are set. */
  setFault(fault: PodFault): Promise<void> {
    const change = this.#changes.then(() => this.#change(fault));
    // Whoever asked hears of a failure; the next change goes on from there.
    this.#changes = change.catch(() => {});
    return change;
  }

  /** From now on every answer ends its connection, as good servers do it on SIGTERM: proxies go elsewhere unhurt. */
  drain(): void {
    this.#draining = true;
  }

  /** Cuts what is still open, and gives the address back. */
  async close(): Promise<void> {
    await this.#unlisten();
    const claim = this.#claim;
    this.#claim = null;
    if (claim !== null) await new Promise<void>((resolve) => claim.close(() => resolve()));
  }

  async #unlisten(): Promise<void> {
    this.#held = [];
    const servers = this.#servers;
    this.#servers = [];
    await Promise.all(
      servers.map(
        (server) =>
          new Promise<void>((resolve) => {
            server.close(() => resolve());
            server.closeAllConnections();
          }),
      ),
    );
  }

  async #change(fault: PodFault): Promise<void> {
    const before = this.#fault;
    if (before === fault) return;
    this.#fault = fault;
    if (fault === "refuse") await this.#unlisten();
    else if (before === "refuse") await this.listen();
    if (fault === "none") {
      for (const { port, request, response } of this.#held.splice(0)) {
        this.#ports.get(port)?.(request, response);
      }
    }
  }

  #take(port: number, handler: ImageHandler, request: IncomingMessage, response: ServerResponse): void {
    this.#open += 1;
    response.once("close", () => {
      this.#open -= 1;
      this.#quietSince = performance.now();
      this.#held = this.#held.filter((held) => held.response !== response);
    });
    if (this.#draining) response.shouldKeepAlive = false;
    if (this.#fault === "hang") this.#held.push({ port, request, response });
    else handler(request, response);
  }
}
