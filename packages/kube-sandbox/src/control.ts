import { randomBytes, timingSafeEqual } from "node:crypto";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import type { FaultChange, SandboxCluster } from "./cluster.ts";
import { sendJson } from "./http/answer.ts";
import { mediaType, parseObject, readBody } from "./http/body.ts";
import { API_FAULTS, type ApiFault, POD_FAULTS, type PodFault } from "./http/faults.ts";
import type { JsonObject } from "./json.ts";
import { ApiError, badRequest, pathNotFound, unauthorized } from "./status.ts";

export interface ControlOptions {
  clusters: Map<string, SandboxCluster>;
  kubeconfigs: Map<string, string>;
  podRanges: Map<string, string>;
}

export interface Control {
  url: string;
  token: string;
  close(): Promise<void>;
}

/** Breaks and mends clusters over HTTP: `POST /faults {cluster, api?, pods?, slowMs?}`, `GET /state`. */
export async function startControl(options: ControlOptions): Promise<Control> {
  const token = randomBytes(24).toString("base64url");
  const server = createServer((request, response) => {
    answer(request, response, options, token).catch((error: unknown) => {
      const refused = error instanceof ApiError ? error : new ApiError(500, "InternalError", String(error));
      sendJson(response, refused.code, refused.body);
    });
  });
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen({ port: 0, host: "127.0.0.1" }, resolve);
  });
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}`,
    token,
    async close() {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      server.closeAllConnections();
      await closed;
    },
  };
}

async function answer(
  request: IncomingMessage,
  response: ServerResponse,
  options: ControlOptions,
  token: string,
): Promise<void> {
  if (!isAllowed(request.headers.authorization, token)) throw unauthorized();
  const route = `${request.method ?? ""} ${request.url ?? ""}`;
  if (route === "GET /state") return sendJson(response, 200, describe(options));
  if (route !== "POST /faults") throw pathNotFound();
  const body = parseObject(await readBody(request), mediaType(request));
  const cluster = options.clusters.get(String(body.cluster));
  if (cluster === undefined) {
    throw badRequest(
      `cluster: there is no "${String(body.cluster)}", there are ${[...options.clusters.keys()].join(", ")}`,
    );
  }
  await cluster.setFault(parseChange(body));
  sendJson(response, 200, describe(options));
}

/** Compared in constant time, as any secret. */
function isAllowed(header: string | undefined, token: string): boolean {
  const given = Buffer.from(header ?? "");
  const wanted = Buffer.from(`Bearer ${token}`);
  return given.length === wanted.length && timingSafeEqual(given, wanted);
}

function parseChange(body: JsonObject): FaultChange {
  const { api, pods, slowMs } = body;
  const change: FaultChange = {};
  if (api !== undefined) change.api = oneOf("api", api, API_FAULTS) as ApiFault;
  if (pods !== undefined) change.pods = oneOf("pods", pods, POD_FAULTS) as PodFault;
  if (slowMs !== undefined) {
    if (typeof slowMs !== "number" || !(slowMs >= 0) || slowMs > 600_000) {
      throw badRequest("slowMs: must be milliseconds from 0 to 600000");
    }
    change.slowMs = slowMs;
  }
  return change;
}

function oneOf(field: string, value: unknown, allowed: readonly string[]): string {
  if (typeof value === "string" && allowed.includes(value)) return value;
  throw badRequest(`${field}: ${JSON.stringify(value)} is none of ${allowed.join(", ")}`);
}

function describe({ clusters, kubeconfigs, podRanges }: ControlOptions): JsonObject {
  const state: JsonObject = {};
  for (const [name, cluster] of clusters) {
    const podRange = podRanges.get(name);
    state[name] = {
      url: cluster.url,
      kubeconfig: kubeconfigs.get(name),
      ...(podRange === undefined ? {} : { podRange }),
      faults: { ...cluster.faults },
      resourceVersion: String(cluster.store.version),
    };
  }
  return { clusters: state };
}
