import { createServer, type Server } from "node:http";

/** Longer than nginx keeps an idle connection, so that nginx closes first. */
const KEEP_ALIVE_MS = 75_000;

/** One pod's HTTP server: answers who it is. */
export class Backend {
  readonly address: string;
  readonly #server: Server;
  #ending = false;

  private constructor(address: string, server: Server) {
    this.address = address;
    this.#server = server;
  }

  /** @returns null when somebody else listens there */
  static async listen(
    address: string,
    port: number,
    answer: () => [number, string],
  ): Promise<Backend | null> {
    const server = createServer({ keepAliveTimeout: KEEP_ALIVE_MS });
    const backend = new Backend(address, server);
    server.on("request", (request, response) => {
      request.resume();
      if (backend.#ending) response.shouldKeepAlive = false;
      const [status, body] = answer();
      response.writeHead(status, { "content-length": Buffer.byteLength(body) }).end(body);
    });
    const error = await new Promise<NodeJS.ErrnoException | null>((resolve) => {
      server.once("error", resolve);
      server.listen({ port, host: address, backlog: 511 }, () => resolve(null));
    });
    if (error === null) return backend;
    if (error.code === "EADDRINUSE") return null;
    throw error;
  }

  /** It serves on, and each answer ends its connection, as good servers do it on SIGTERM. */
  drain(): void {
    this.#ending = true;
  }

  /** Cuts what is open; from now on connections are refused. */
  close(): Promise<void> {
    return new Promise((resolve) => {
      this.#server.close(() => resolve());
      this.#server.closeAllConnections();
    });
  }
}
