import { createServer } from "node:http";
import { PortTakenError } from "@sluice/contracts";
import type { Health } from "./health.ts";
import type { Metrics } from "./metrics.ts";

export interface ProbeServer extends AsyncDisposable {
  /** `127.0.0.1:PORT` */
  readonly address: string;
}

/**
 * /livez, /readyz and /metrics of a process, on one port. `port` 0: any free one.
 * @throws PortTakenError
 */
export async function serveProbes(
  options: { readonly host: string; readonly port: number },
  health: Health,
  metrics: Metrics,
): Promise<ProbeServer> {
  const server = createServer((request, response) => {
    const path = (request.url ?? "/").split("?")[0];
    const say = (status: number, body: string, type = "text/plain; charset=utf-8") =>
      response.writeHead(status, { "content-type": type }).end(body);
    if (path === "/livez") return say(health.live === null ? 200 : 500, `${health.live ?? "ok"}\n`);
    if (path === "/readyz") {
      const waiting = [...health.waiting].map(([part, reason]) => `${part}: ${reason}`);
      if (health.live !== null) waiting.unshift(health.live);
      return say(health.ready ? 200 : 503, `${waiting.join("\n") || "ok"}\n`);
    }
    if (path === "/metrics") {
      metrics.text().then(
        (text) => say(200, text, metrics.registry.contentType),
        (error: unknown) => say(500, `${String(error)}\n`),
      );
      return;
    }
    return say(404, "/livez, /readyz or /metrics\n");
  });
  await new Promise<void>((resolve, reject) => {
    server.once("error", (error) =>
      reject(new PortTakenError(`${options.host}:${options.port}: ${error.message}`, { cause: error })),
    );
    server.listen(options.port, options.host, resolve);
  });
  const bound = server.address();
  const port = typeof bound === "object" && bound !== null ? bound.port : options.port;
  return {
    address: `${options.host}:${port}`,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise<void>((resolve) => server.close(() => resolve()));
    },
  };
}
