import { mkdtemp, rm } from "node:fs/promises";
import { Agent, createServer, type IncomingMessage, request, type Server } from "node:http";
import type { Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { defaultSettings, type ProfileSettings } from "@sluice/ingress";
import { ensureTool, freePort } from "@sluice/native-tools";
import { UnixNginxClient } from "../nginx-client.ts";
import { type NginxProcess, startNginx } from "../nginx-process.ts";
import type { NginxRow } from "../nginx-row.ts";
import { keepProfiles, type NginxOptions, type PreparedNginx, prepareNginx } from "../prepare-nginx.ts";

/** A real nginx as a proxy runs it, in a folder of its own. */
export interface TestNginx {
  readonly options: NginxOptions;
  readonly prepared: PreparedNginx;
  readonly client: UnixNginxClient;
  process: NginxProcess;
  /** Sends rows that must all be taken. */
  apply(...rows: NginxRow[]): Promise<void>;
  get(path: string, options?: GetOptions): Promise<TestAnswer>;
  restart(how: "SIGTERM" | "SIGKILL"): Promise<void>;
  /** Closed before nginx and its folder, the last one first: node:test would begin with nginx. */
  readonly users: AsyncDisposableStack;
}

export interface GetOptions {
  readonly host?: string;
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
  /** Its own connection, and so maybe another worker. */
  readonly fresh?: boolean;
}

export interface TestAnswer {
  readonly status: number;
  readonly headers: IncomingMessage["headers"];
  readonly body: string;
  readonly ms: number;
}

export async function testNginx(
  t: TestContext,
  given: Partial<Omit<NginxOptions, "dir" | "tool" | "httpAddress" | "httpsAddress">> & {
    /** TLS on a port of its own. */
    readonly https?: true;
    /** By name; what they do not say is as by default. */
    readonly profiles?: Readonly<Record<string, Partial<ProfileSettings>>>;
  } = {},
): Promise<TestNginx> {
  const tool = await ensureTool("nginx", { signal: t.signal });
  const dir = await mkdtemp(join(tmpdir(), "sluice-px-"));
  const httpAddress = `127.0.0.1:${await freePort()}`;
  const { https, profiles, ...more } = given;
  const options: NginxOptions = {
    dir,
    tool,
    httpAddress,
    ...(https === true ? { httpsAddress: `127.0.0.1:${await freePort()}` } : {}),
    workers: 2,
    firstByteTimeoutMs: 0,
    rowsMegabytes: 8,
    ...more,
  };
  if (profiles !== undefined) {
    const settings = Object.entries(profiles).map(
      ([name, own]) => [name, { ...defaultSettings, ...own }] as const,
    );
    await keepProfiles(dir, new Map(settings));
  }
  const prepared = await prepareNginx(options);
  const agent = new Agent({ keepAlive: true });
  const nginx: TestNginx = {
    options,
    prepared,
    client: new UnixNginxClient(prepared.socketPath),
    process: await startNginx(prepared, httpAddress, t.signal),
    async apply(...rows) {
      const { instance } = await nginx.client.state(t.signal);
      const answer = await nginx.client.apply(rows, instance, t.signal);
      if (answer.restarted || answer.refused.length > 0) throw new Error(JSON.stringify(answer));
    },
    users: new AsyncDisposableStack(),
    get: (path, more = {}) => get(httpAddress, path, more, agent, t.signal),
    async restart(how) {
      await nginx.process.stop(how);
      nginx.process = await startNginx(prepared, httpAddress, t.signal);
    },
  };
  t.after(async () => {
    await nginx.users.disposeAsync();
    agent.destroy();
    nginx.client[Symbol.dispose]();
    await nginx.process.stop();
    await rm(dir, { recursive: true, force: true });
  });
  return nginx;
}

/** @param began when it was asked for, by performance.now() */
export function readAnswer(response: IncomingMessage, began: number): Promise<TestAnswer> {
  return new Promise((resolve, reject) => {
    let body = "";
    response.on("data", (chunk: Buffer) => {
      body += chunk.toString();
    });
    response.on("error", reject);
    response.on("end", () =>
      resolve({
        status: response.statusCode ?? 0,
        headers: response.headers,
        body,
        ms: performance.now() - began,
      }),
    );
  });
}

function get(
  address: string,
  path: string,
  options: GetOptions,
  agent: Agent,
  signal: AbortSignal,
): Promise<TestAnswer> {
  const began = performance.now();
  const at = address.lastIndexOf(":");
  return new Promise((resolve, reject) => {
    const sent = request(
      {
        host: address.slice(0, at),
        port: Number(address.slice(at + 1)),
        path,
        method: options.method ?? "GET",
        headers: { host: options.host ?? "shop.example.test", ...options.headers },
        agent: options.fresh === true ? false : agent,
        signal,
      },
      (response) => readAnswer(response, began).then(resolve, reject),
    );
    sent.on("error", reject);
    sent.end(options.body);
  });
}

/** A pod: a small HTTP server on a loopback address of its own. */
export interface TestPod {
  readonly name: string;
  readonly address: string;
  readonly port: number;
  /** Requests that have arrived. */
  requests: number;
  readonly last: { headers: IncomingMessage["headers"]; url: string; body: string };
  /** Accepts and never answers. */
  frozen: boolean;
  /** Refuses connections from now on. */
  close(): Promise<void>;
  readonly server: Server;
}

export type PodAnswer = (
  pod: TestPod,
  request: IncomingMessage,
) => { status?: number; body?: string } | undefined;

export async function testPod(
  t: TestContext,
  address: string,
  name: string,
  port = 0,
  answer?: PodAnswer,
): Promise<TestPod> {
  const server = createServer((request, response) => {
    pod.requests++;
    let body = "";
    request.on("data", (chunk: Buffer) => {
      body += chunk.toString();
    });
    request.on("end", () => {
      Object.assign(pod.last, { headers: request.headers, url: request.url ?? "", body });
      if (pod.frozen) return;
      const said = answer?.(pod, request);
      response.writeHead(said?.status ?? 200).end(said?.body ?? name);
    });
  });
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(port, address, resolve);
  });
  const sockets = new Set<Socket>();
  server.on("connection", (socket) => {
    sockets.add(socket);
    socket.once("close", () => sockets.delete(socket));
  });
  const bound = server.address();
  const pod: TestPod = {
    name,
    address,
    port: typeof bound === "object" && bound !== null ? bound.port : port,
    requests: 0,
    last: { headers: {}, url: "", body: "" },
    frozen: false,
    server,
    async close() {
      // Upgraded connections too, which the server no longer knows.
      for (const socket of sockets) socket.destroy();
      await new Promise<void>((resolve) => server.close(() => resolve()));
    },
  };
  t.after(() => pod.close());
  return pod;
}

export function peersRow(
  upstream: string,
  cluster: string,
  ...pods: readonly TestPod[]
): Extract<NginxRow, { readonly peers: unknown }> {
  return { k: "peers", upstream, cluster, peers: pods.map((pod) => [pod.address, pod.port, 1] as const) };
}

export function routeRow(host: string, upstream: string, path = "/"): NginxRow {
  return { k: "route", host, paths: [["P", path, upstream, "default"]] };
}
