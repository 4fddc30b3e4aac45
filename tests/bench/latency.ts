import { Agent } from "node:http";
import { connectBus } from "@sluice/bus";
import { fleetTable, type Trace } from "@sluice/contracts";
import type { KubeClient } from "@sluice/kube";
import { freePort } from "@sluice/native-tools";
import { createKit } from "@sluice/service-kit";
import { startedWorld, type WorldAddresses } from "../world/started-world.ts";
import { Asker } from "./asker.ts";
import { type BenchResult, percentile, thisMachine, writeRaw } from "./bench-result.ts";
import { type ImportedService, installService, moveEndpoint, prepareCluster } from "./imported-service.ts";
import { servePeer } from "./peer-server.ts";

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

const CHANGES = 1200;
const WARM_UP = 100;
const HOST = "latency.example.test";
/** Addresses in member1's pod range that the sandbox's node does not give out first. */
const PEERS = ["127.11.240.1", "127.11.240.2"] as const;
const CHANGE_MS = 30_000;
const apiAgent = new Agent({ keepAlive: true, maxSockets: 1 });

/** One change at a time: a slice's only endpoint moves to the other peer, and requests go on until that one answers. */
export async function latency(options: LatencyOptions): Promise<BenchResult> {
  const { signal, log } = options;
  const inject = options.inject.flatMap((delayed) => ["--inject", delayed]);
  await using world = await startedWorld(["--empty", "--members", "1", ...inject], signal);
  await using stack = new AsyncDisposableStack();
  const service = { name: "cart", host: HOST, port: await freePort() };
  for (const address of PEERS) stack.use(await servePeer(address, service.port));
  await prepareCluster(world.cluster("hub"), false, signal);
  await prepareCluster(world.cluster("member1"), true, signal);
  await installService(world.cluster("hub"), world.cluster("member1"), service, PEERS[0], signal);
  const traces = await followTraces(world.addresses, stack);
  const asker = stack.use(new Asker(world.addresses.proxy.http));
  const deadline = performance.now() + 60_000;
  while ((await asker.ask(HOST)) !== PEERS[0]) {
    if (performance.now() > deadline) throw new Error("the first peer never answered");
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  const member = world.cluster("member1");
  const samples: Sample[] = [];
  const wanted = options.changes ?? CHANGES;
  const warmUp = options.warmUp ?? WARM_UP;
  for (let i = 1; i <= warmUp + wanted && !signal.aborted; i++) {
    const sample = await change(member, service, PEERS[i % 2] ?? PEERS[0], asker, traces, signal);
    if (i > warmUp) samples.push(sample);
    if (i % 300 === 0) log(`${i} of ${warmUp + wanted} changes`);
  }
  signal.throwIfAborted();
  return report(samples);
}

async function change(
  member: KubeClient,
  service: ImportedService,
  peer: string,
  asker: Asker,
  traces: Map<string, Trace>,
  signal: AbortSignal,
): Promise<Sample> {
  traces.clear();
  const sentAt = performance.timeOrigin + performance.now();
  const changed = moveEndpoint(member.server, service, peer, apiAgent, signal);
  // A change that is refused must not look like one that is late.
  let refused: unknown = null;
  changed.catch((error: unknown) => {
    refused = error;
  });
  const gaveUp = performance.now() + CHANGE_MS;
  while ((await asker.ask(HOST)) !== peer) {
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
  { nats, natsFiles }: Pick<WorldAddresses, "nats" | "natsFiles">,
  stack: AsyncDisposableStack,
): Promise<Map<string, Trace>> {
  const traces = new Map<string, Trace>();
  const controller = new AbortController();
  const kit = createKit({ service: "bench", signal: controller.signal });
  const bus = await connectBus({ url: nats, files: natsFiles, name: "bench", kit });
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
