import { readFileSync } from "node:fs";
import { Agent, request } from "node:http";
import { connect, createServer, type Socket } from "node:net";
import { connectBus } from "@sluice/bus";
import { fleetTable, type Trace } from "@sluice/contracts";
import type { CustomResourceDefinition, EndpointSlice, KubeClient, KubeObject } from "@sluice/kube";
import { createKit } from "@sluice/service-kit";
import { parse } from "yaml";
import { startedWorld } from "../world/started-world.ts";
import { type BenchResult, percentile, thisMachine, writeRaw } from "./bench-result.ts";

export interface LatencyOptions {
  readonly signal: AbortSignal;
  readonly inject: readonly string[];
  readonly changes?: number;
  readonly warmUp?: number;
  log(line: string): void;
}

interface Sample {
  /** From the moment at which the API has stored the change to the first answer of the new peer, ms. */
  readonly total: number;
  /** The same from the moment at which the request for the change was sent: what the API itself takes is in it. */
  readonly withRequest: number;
  readonly stages: Readonly<Record<string, number>>;
}

type PeerServer = AsyncDisposable;

const CHANGES = 1200;
const WARM_UP = 100;
const HOST = "latency.example.test";
const NAMESPACE = "shop";
const SERVICE = "cart";
/** Addresses in member1's pod range that the sandbox's node does not give out first. */
const PEERS = ["127.11.240.1", "127.11.240.2"] as const;
const PORT = 8080;
const CHANGE_MS = 5000;
const apiAgent = new Agent({ keepAlive: true, maxSockets: 1 });

/** One change at a time: a slice's only endpoint moves to the other peer, and requests go on until that one answers. */
export async function latency(options: LatencyOptions): Promise<BenchResult> {
  const { signal, log } = options;
  const inject = options.inject.flatMap((delayed) => ["--inject", delayed]);
  await using world = await startedWorld(["--empty", "--members", "1", ...inject], signal);
  await using stack = new AsyncDisposableStack();
  for (const address of PEERS) stack.use(await servePeer(address));
  await install(world.cluster("hub"), world.cluster("member1"), signal);
  const traces = await followTraces(world.addresses, stack);
  const asker = stack.use(new Asker(world.addresses.proxy.http));
  const deadline = performance.now() + 20_000;
  while ((await asker.ask()) !== PEERS[0]) {
    if (performance.now() > deadline) throw new Error("the first peer never answered");
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  const member = world.cluster("member1");
  const samples: Sample[] = [];
  const wanted = options.changes ?? CHANGES;
  const warmUp = options.warmUp ?? WARM_UP;
  for (let i = 1; i <= warmUp + wanted && !signal.aborted; i++) {
    const sample = await change(member, PEERS[i % 2] ?? PEERS[0], asker, traces, signal);
    if (i > warmUp) samples.push(sample);
    if (i % 300 === 0) log(`${i} of ${warmUp + wanted} changes`);
  }
  signal.throwIfAborted();
  return report(samples);
}

async function change(
  member: KubeClient,
  peer: string,
  asker: Asker,
  traces: Map<string, Trace>,
  signal: AbortSignal,
): Promise<Sample> {
  traces.clear();
  const sentAt = performance.timeOrigin + performance.now();
  const changed = changeSlice(member.server, peer, signal);
  // A change that is refused must not look like one that is late.
  let refused: unknown = null;
  changed.catch((error: unknown) => {
    refused = error;
  });
  const gaveUp = performance.now() + CHANGE_MS;
  while ((await asker.ask()) !== peer) {
    if (refused !== null) throw refused;
    if (performance.now() > gaveUp)
      throw new Error(`${peer} did not answer within ${CHANGE_MS} ms of the change`);
  }
  const answeredAt = performance.timeOrigin + performance.now();
  const storedAt = await changed;
  // The record's own copy may reach this process a moment after nginx had it.
  while (!traces.has(peer)) {
    if (performance.now() > gaveUp + CHANGE_MS)
      throw new Error(`no trace of the change in the fleet table: ${JSON.stringify([...traces])}`);
    await new Promise((resolve) => setImmediate(resolve));
  }
  const at = traces.get(peer)?.at ?? {};
  const time = (stage: string) => at[stage] ?? Number.NaN;
  return {
    total: answeredAt - storedAt,
    withRequest: answeredAt - sentAt,
    stages: {
      watch: time("watch") - storedAt,
      "member-watcher": time("slices") - time("watch"),
      aggregator: time("topology") - time("slices"),
      "config-renderer": time("fleet") - time("topology"),
      "proxy-agent and nginx": answeredAt - time("fleet"),
    },
  };
}

/** Moves the slice's endpoint. @returns when the API stored it, ms since 1970, by the sandbox's own word */
function changeSlice(server: string, peer: string, signal: AbortSignal): Promise<number> {
  const path = `/apis/discovery.k8s.io/v1/namespaces/${NAMESPACE}/endpointslices/${SERVICE}-bench`;
  const body = JSON.stringify({ endpoints: endpoints(peer) });
  const headers = {
    "content-type": "application/merge-patch+json",
    "content-length": Buffer.byteLength(body),
  };
  return new Promise((resolve, reject) => {
    const sent = request(
      `${server}${path}`,
      { method: "PATCH", headers, agent: apiAgent, signal },
      (response) => {
        response.resume();
        const storedAt = Number(response.headers["x-sandbox-stored-at"] ?? Number.NaN);
        if (response.statusCode === 200 && storedAt > 0) resolve(storedAt);
        else reject(new Error(`the API answered ${response.statusCode} to the change`));
      },
    );
    sent.on("error", reject);
    sent.end(body);
  });
}

async function report(samples: readonly Sample[]): Promise<BenchResult> {
  const totals = samples.map(({ total }) => total);
  const figures: Record<string, number> = {
    p50_ms: percentile(totals, 0.5),
    p90_ms: percentile(totals, 0.9),
    p99_ms: percentile(totals, 0.99),
    max_ms: Math.max(...totals),
    with_request_p50_ms: percentile(
      samples.map(({ withRequest }) => withRequest),
      0.5,
    ),
    with_request_p99_ms: percentile(
      samples.map(({ withRequest }) => withRequest),
      0.99,
    ),
  };
  const sum = totals.reduce((a, b) => a + b, 0);
  for (const stage of Object.keys(samples[0]?.stages ?? {})) {
    const times = samples.map(({ stages }) => stages[stage] ?? Number.NaN);
    const name = stage.replaceAll(/[ -]/g, "_");
    figures[`${name}_p50_ms`] = percentile(times, 0.5);
    figures[`${name}_share`] = times.reduce((a, b) => a + b, 0) / sum;
  }
  return {
    bench: "latency",
    figures,
    goals: { p50_ms: 5, p99_ms: 20 },
    samples: samples.length,
    raw: await writeRaw("latency", samples),
    machine: thisMachine(),
  };
}

/** The newest trace of the peers row, by the peer that it names. */
async function followTraces(
  { nats, natsNkey }: { readonly nats: string; readonly natsNkey: string },
  stack: AsyncDisposableStack,
): Promise<Map<string, Trace>> {
  const traces = new Map<string, Trace>();
  const controller = new AbortController();
  const kit = createKit({ service: "bench", signal: controller.signal });
  const bus = await connectBus({ url: nats, files: { nkey: natsNkey }, name: "bench", kit });
  const view = bus.view(fleetTable, {
    onChange: (_key, row, { trace }) => {
      if (row === undefined || !("peers" in row) || trace === undefined) return;
      for (const { address } of row.peers) traces.set(address, trace);
    },
  });
  stack.defer(async () => {
    controller.abort(new Error("done"));
    await view.done;
    await bus.close();
  });
  return traces;
}

/** A peer that answers any request with its address, as cheaply as it can: it shares the cores with what is measured. */
function servePeer(address: string): Promise<PeerServer> {
  const answer = `HTTP/1.1 200 OK\r\ncontent-length: ${address.length}\r\n\r\n${address}`;
  const sockets = new Set<Socket>();
  const server = createServer({ noDelay: true }, (socket) => {
    sockets.add(socket);
    socket.on("data", () => socket.write(answer));
    socket.on("error", () => socket.destroy());
    socket.on("close", () => sockets.delete(socket));
  });
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(PORT, address, () =>
      resolve({
        [Symbol.asyncDispose]: () => {
          for (const socket of sockets) socket.destroy();
          return new Promise<void>((closed) => server.close(() => closed()));
        },
      }),
    );
  });
}

/**
 * One kept-alive connection through the proxy that asks again and again. A raw socket: an HTTP client would take more
 * of the two cores than all of Sluice.
 */
class Asker implements Disposable {
  readonly #url: URL;
  #socket: Socket;
  #text = "";
  #answered: (body: string) => void = () => {};

  constructor(url: string) {
    this.#url = new URL(url);
    this.#socket = this.#connect();
  }

  #connect(): Socket {
    const socket = connect({ host: this.#url.hostname, port: Number(this.#url.port), noDelay: true });
    this.#text = "";
    socket.setEncoding("latin1");
    socket.on("data", (chunk: string) => {
      this.#text += chunk;
      const end = this.#text.indexOf("\r\n\r\n");
      if (end < 0) return;
      const length = Number(/content-length: ([0-9]+)/i.exec(this.#text)?.[1] ?? 0);
      if (this.#text.length < end + 4 + length) return;
      const body = this.#text.slice(end + 4, end + 4 + length);
      this.#text = "";
      this.#answered(body);
    });
    socket.on("error", () => this.#answered(""));
    socket.on("close", () => this.#answered(""));
    return socket;
  }

  ask(): Promise<string> {
    return new Promise((resolve) => {
      this.#answered = resolve;
      // nginx closes a kept-alive connection after so many requests.
      if (this.#socket.destroyed) this.#socket = this.#connect();
      this.#socket.write(`GET / HTTP/1.1\r\nHost: ${HOST}\r\n\r\n`);
    });
  }

  [Symbol.dispose](): void {
    this.#socket.destroy();
  }
}

function endpoints(address: string): EndpointSlice["endpoints"] {
  return [{ addresses: [address], conditions: { ready: true, serving: true, terminating: false } }];
}

async function install(hub: KubeClient, member: KubeClient, signal: AbortSignal): Promise<void> {
  const apply = (client: KubeClient, object: KubeObject) =>
    client.apply(object, { fieldManager: "bench", force: true }, signal);
  const namespace = { apiVersion: "v1", kind: "Namespace", metadata: { name: NAMESPACE } };
  const crd = new URL("../../deploy/crds/multicluster.x-k8s.io_serviceexports.yaml", import.meta.url);
  await apply(member, parse(readFileSync(crd, "utf8")) as CustomResourceDefinition);
  await apply(hub, namespace);
  await apply(member, namespace);
  const metadata = { name: SERVICE, namespace: NAMESPACE };
  const ports = [{ port: 80, protocol: "TCP", targetPort: PORT }];
  const slice: EndpointSlice = {
    apiVersion: "discovery.k8s.io/v1",
    kind: "EndpointSlice",
    metadata: {
      name: `${SERVICE}-bench`,
      namespace: NAMESPACE,
      labels: { "kubernetes.io/service-name": SERVICE },
    },
    addressType: "IPv4",
    ports: [{ name: "", port: PORT, protocol: "TCP" }],
    endpoints: endpoints(PEERS[0]) ?? [],
  };
  await apply(member, { apiVersion: "v1", kind: "Service", metadata, spec: { ports } } as KubeObject);
  await apply(member, slice);
  await apply(member, { apiVersion: "multicluster.x-k8s.io/v1alpha1", kind: "ServiceExport", metadata });
  const spec = { type: "ClusterSetIP", ports: [{ port: 80, protocol: "TCP" }] };
  const mcs = "multicluster.x-k8s.io/v1alpha1";
  await apply(hub, { apiVersion: mcs, kind: "ServiceImport", metadata, spec } as KubeObject);
  const backend = { service: { name: SERVICE, port: { number: 80 } } };
  const rules = [{ host: HOST, http: { paths: [{ path: "/", pathType: "Prefix", backend }] } }];
  await apply(hub, {
    apiVersion: "networking.karmada.io/v1alpha1",
    kind: "MultiClusterIngress",
    metadata,
    spec: { ingressClassName: "nginx", rules },
  } as KubeObject);
}
