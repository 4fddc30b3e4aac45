import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo, Socket } from "node:net";
import { Registry } from "../registry/registry.ts";
import type { World } from "../registry/world.ts";
import { ApiError, pathNotFound, unauthorized } from "../status.ts";
import { sendJson } from "./answer.ts";
import {
  aggregated,
  aggregatedVersion,
  apiGroupList,
  apiVersions,
  oneGroup,
  resourceList,
  versionInfo,
} from "./discovery.ts";
import { type ApiFault, Gate } from "./faults.ts";
import { ListPages } from "./lists.ts";
import { serveOpenApi } from "./openapi-requests.ts";
import { type ResourceContext, serveResource } from "./resource-requests.ts";
import { parseResourcePath } from "./route.ts";
import type { Watch } from "./watch.ts";

/** How long requests wait under the `slow` fault when nobody says. */
const SLOW_MS = 1000;

/** The HTTP side of one cluster, with what can go wrong with it. */
export class ApiServer {
  readonly #world: World;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  readonly #gate = new Gate();
  readonly #context: ResourceContext;
  #fault: ApiFault = "none";
  #address = "";
  #port = 0;

  constructor(world: World) {
    this.#world = world;
    this.#context = {
      world,
      registry: new Registry(world),
      pages: new ListPages(),
      gate: this.#gate,
      watches: new Set<Watch>(),
    };
    this.#server = createServer({ keepAliveTimeout: 120_000 }, (request, response) => {
      void this.#answer(request, response);
    });
    this.#server.on("connection", (socket) => {
      this.#sockets.add(socket);
      socket.setNoDelay(true);
      socket.on("close", () => this.#sockets.delete(socket));
    });
  }

  get registry(): Registry {
    return this.#context.registry;
  }

  get fault(): ApiFault {
    return this.#fault;
  }

  get url(): string {
    return `http://${this.#address}`;
  }

  async listen(port: number): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      this.#server.once("error", reject);
      this.#server.listen({ port, host: "127.0.0.1" }, () => {
        this.#server.off("error", reject);
        resolve();
      });
    });
    this.#port = (this.#server.address() as AddressInfo).port;
    this.#address = `127.0.0.1:${this.#port}`;
  }

  async setFault(fault: ApiFault, slowMs: number | undefined): Promise<void> {
    if (this.#fault === "refuse" && fault !== "refuse") await this.listen(this.#port);
    if (fault !== "hang") this.#gate.open();
    this.#gate.delayMs = fault === "slow" ? (slowMs ?? SLOW_MS) : 0;
    switch (fault) {
      case "refuse":
        if (this.#fault !== "refuse") await this.#unlisten();
        break;
      case "hang":
        this.#gate.close();
        break;
      case "reset":
        for (const socket of this.#sockets) socket.resetAndDestroy();
        break;
      case "gone":
        // Everything handed out so far is too old from here: whoever resumes must list again.
        this.#world.store.compact();
        this.#context.pages.expire();
        for (const watch of this.#context.watches) watch.end();
        break;
      case "unauthorized":
        // Who has a watch open meets the 401 when it comes back.
        for (const watch of this.#context.watches) watch.end();
        break;
      default:
        break;
    }
    this.#fault = fault === "reset" || fault === "gone" ? "none" : fault;
  }

  async close(): Promise<void> {
    this.#gate.open();
    if (this.#server.listening) await this.#unlisten();
  }

  async #unlisten(): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    for (const socket of this.#sockets) socket.resetAndDestroy();
    await closed;
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    try {
      if (!this.#gate.clear) await this.#gate.pass();
      if (response.destroyed) return;
      if (this.#fault === "unauthorized") throw unauthorized();
      await this.#route(request, response);
    } catch (error) {
      if (!(error instanceof ApiError)) {
        // The client went away in the middle of its body: there is nobody to answer.
        if (request.destroyed && !request.complete) return;
        this.#world.log.error({ err: error, method: request.method, url: request.url }, "request failed");
      }
      const answer = error instanceof ApiError ? error : new ApiError(500, "InternalError", String(error));
      // The rest of a body that was refused is not read.
      if (!request.complete) response.setHeader("connection", "close");
      sendJson(response, answer.code, answer.body);
    }
  }

  async #route(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url ?? "/", this.url);
    const path = url.pathname.replace(/(.)\/+$/, "$1");
    const { catalog } = this.#world;
    const accept = request.headers.accept;
    switch (path) {
      case "/version":
        return sendJson(response, 200, versionInfo());
      case "/healthz":
      case "/livez":
      case "/readyz":
        response.writeHead(200, { "content-type": "text/plain" }).end("ok");
        return;
      case "/api":
      case "/apis": {
        const version = aggregatedVersion(accept);
        if (version !== undefined) {
          const body = aggregated(catalog, path === "/api" ? "core" : "groups", version);
          response.setHeader("vary", "Accept");
          const type = `application/json;g=apidiscovery.k8s.io;v=${version};as=APIGroupDiscoveryList`;
          response.writeHead(200, { "content-type": type }).end(JSON.stringify(body));
          return;
        }
        return sendJson(response, 200, path === "/api" ? apiVersions(this.#address) : apiGroupList(catalog));
      }
      default:
        break;
    }
    if (path.startsWith("/openapi/")) return serveOpenApi(catalog, path, request, response);
    const [root, first = "", second = "", ...rest] = path.split("/").slice(1);
    const listed = this.#listed(root ?? "", first, second, rest.length);
    if (listed !== undefined) return sendJson(response, 200, listed);
    const resource = parseResourcePath(path);
    if (resource === undefined) throw pathNotFound();
    await serveResource(this.#context, resource, url.searchParams, request, response);
  }

  /** Discovery of one group or group version. */
  #listed(root: string, first: string, second: string, more: number) {
    const { catalog } = this.#world;
    if (more > 0) return undefined;
    if (root === "api") return second === "" ? resourceList(catalog, "", first) : undefined;
    if (root !== "apis") return undefined;
    return second === "" ? oneGroup(catalog, first) : resourceList(catalog, first, second);
  }
}
