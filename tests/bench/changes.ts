import { readFileSync } from "node:fs";
import { Agent } from "node:http";
import { setTimeout as delay } from "node:timers/promises";
import { connectBus } from "@sluice/bus";
import { fleetKeys, fleetTable } from "@sluice/contracts";
import { upstreamId } from "@sluice/ingress";
import { freePort } from "@sluice/native-tools";
import { createKit } from "@sluice/service-kit";
import { type StartedWorld, startedWorld } from "../world/started-world.ts";
import { Asker } from "./asker.ts";
import { type BenchResult, percentile, thisMachine, writeRaw } from "./bench-result.ts";
import {
  type ImportedService,
  installService,
  moveEndpoint,
  NAMESPACE,
  prepareCluster,
} from "./imported-service.ts";
import { servePeer } from "./peer-server.ts";
import { cpuMs, familyOf } from "./process-figures.ts";

export interface ChangesOptions {
  readonly signal: AbortSignal;
  /** Changes a second, over all clusters. */
  readonly rate: number;
  readonly clusters: number;
  /** Seconds that one rate is offered; default 20. */
  readonly seconds?: number;
  /** `SERVICE=DURATION`: planted delays, which the figures must show. */
  readonly inject?: readonly string[];
  /** Looks for the highest rate that holds; default true. */
  readonly search?: boolean;
  log(line: string): void;
}

interface Moving extends ImportedService {
  readonly server: string;
  readonly peers: readonly [string, string];
  /** Of its row in the fleet. */
  readonly peersKey: string;
  /** Which of them it is at, or on its way to. */
  at: 0 | 1;
  busy: boolean;
}

interface Offer {
  readonly rate: number;
  readonly madePerSecond: number;
  readonly samples: number;
  readonly p50: number;
  readonly p99: number;
  readonly max: number;
  /** Changes whose peer had not answered in time. */
  readonly lost: number;
  /** Turns at which every service was still on its way: the rate could not be offered. */
  readonly skipped: number;
}

/** Services of each cluster; one change each at a time. */
const SERVICES = 12;
const ASKERS = 24;
/**
 * How often a change that is waited for is asked after: a request each time, on the same two cores. From eight
 * milliseconds on an eighth of what it has waited, by so much at most what is measured is too long.
 */
const ASK_MS = 1;
const ASK_SHARE = 8;
const LOST_MS = 30_000;
/** A mark that is so much older than the change is of the one before it, ms. */
const CLOCK_STEP_MS = 1;
/** A rate holds when 99 of 100 changes are answered by their new peer within this, ms. */
const HOLDS_MS = 100;
const TICK_MS = 2;

/**
 * Many changes at once over many clusters: each moves a slice's only endpoint, and requests to its host go on until the
 * new peer answers; from the moment at which the member's API has stored the change.
 */
export async function changes(options: ChangesOptions): Promise<BenchResult> {
  const { signal, log, clusters } = options;
  const inject = (options.inject ?? []).flatMap((delayed) => ["--inject", delayed]);
  const args = ["--empty", "--processes", "--members", String(clusters), ...inject];
  await using world = await startedWorld(args, signal, {}, true);
  await using stack = new AsyncDisposableStack();
  const port = await freePort();
  stack.use(await servePeer("0.0.0.0", port));
  const services = await install(world, clusters, port, signal);
  const askers = Array.from({ length: ASKERS }, () => stack.use(new Asker(world.addresses.proxy.http)));
  const free = [...askers];
  const agent = new Agent({ keepAlive: true, maxSockets: 8 });
  stack.defer(() => agent.destroy());
  await firstAnswers(services, askers[0]!, signal);
  log(`${services.length} services of ${clusters} clusters answer`);

  const stages = await followStages(world.addresses, stack);
  const measure = async (rate: number, seconds: number): Promise<Offer & { readonly totals: number[] }> => {
    const one = await offer(services, free, agent, rate, seconds, stages, signal);
    log(
      `${rate}/s: ${one.madePerSecond.toFixed(0)}/s made, p50 ${one.p50.toFixed(1)} ms, p99 ${one.p99.toFixed(1)} ms, ` +
        `${one.lost} lost, ${one.skipped} skipped`,
    );
    return one;
  };
  const seconds = options.seconds ?? 20;
  // Until the code of every process is compiled: at the asked rate, for as long as the measuring takes.
  await measure(Math.min(options.rate, 100), Math.min(seconds, 5));
  await measure(options.rate, seconds);
  const pids = processesOf(world);
  const before = await usedBy(pids);
  stages.forget();
  const asked = await measure(options.rate, seconds);
  const byStage = stages.medians();
  const after = await usedBy(pids);
  const offers: Offer[] = [asked];
  const maxRate =
    options.search === false
      ? Number.NaN
      : await highestRate(options.rate, asked, async (rate) => {
          const one = await measure(rate, seconds / 2);
          offers.push(one);
          return one;
        });

  const figures: Record<string, number> = {
    p50_ms: asked.p50,
    p99_ms: asked.p99,
    max_ms: asked.max,
    changes_per_s: asked.madePerSecond,
    lost: asked.lost,
    ...(options.search === false ? {} : { max_rate: maxRate }),
    ...byStage,
  };
  let sum = 0;
  for (const [name, used] of after) {
    const each = (used - (before.get(name) ?? 0)) / asked.samples;
    figures[`cpu_ms_per_change_${name.replaceAll(/[^a-z0-9]+/g, "_")}`] = each;
    sum += each;
  }
  figures["cpu_ms_per_change"] = sum;
  return {
    bench: "changes",
    figures,
    goals: { p50_ms: 5, p99_ms: 50, changes_per_s: options.rate, lost: 0 },
    samples: asked.samples,
    raw: await writeRaw("changes", { offers: offers.map(({ ...one }) => one), totals: asked.totals }),
    machine: thisMachine(),
  };
}

/** How long each stage took of the changes that it passed on, by the marks in the fleet's records. */
async function followStages({ nats, natsFiles }: StartedWorld["addresses"], stack: AsyncDisposableStack) {
  const controller = new AbortController();
  const kit = createKit({ service: "bench", signal: controller.signal });
  const bus = await connectBus({ url: nats, files: natsFiles, name: "bench", kit });
  const times = new Map<string, number[]>();
  const note = (stage: string, from: number | undefined, to: number | undefined) => {
    if (from === undefined || to === undefined) return;
    const known = times.get(stage);
    if (known === undefined) times.set(stage, [to - from]);
    else known.push(to - from);
  };
  /** The newest marks of each upstream's peers, by key. */
  const marks = new Map<string, Readonly<Record<string, number>>>();
  const view = bus.view(fleetTable, {
    onChange: (key, _row, { trace }) => {
      if (trace === undefined) return;
      const { watch, slices, topology, fleet } = trace.at;
      marks.set(key, trace.at);
      note("member_watcher", watch, slices);
      note("aggregator", slices, topology);
      note("config_renderer", topology, fleet);
    },
  });
  stack.defer(async () => {
    controller.abort(new Error("done"));
    await view.done;
    await bus.close();
  });
  return {
    forget: () => times.clear(),
    /** A change that was stored and first answered then, ms since 1970: what lies before the marks and behind them. */
    made: (key: string, storedAt: number, answeredAt: number) => {
      const { watch, fleet } = marks.get(key) ?? {};
      if (watch === undefined || watch < storedAt - CLOCK_STEP_MS) return;
      note("sandbox", storedAt, watch);
      note("proxy", fleet, answeredAt);
    },
    medians: () =>
      Object.fromEntries([...times].map(([stage, all]) => [`${stage}_p50_ms`, percentile(all, 0.5)])),
  };
}

type Stages = Awaited<ReturnType<typeof followStages>>;

async function install(
  world: StartedWorld,
  clusters: number,
  port: number,
  signal: AbortSignal,
): Promise<Moving[]> {
  const hub = world.cluster("hub");
  await prepareCluster(hub, false, signal);
  const all: Moving[] = [];
  for (let cluster = 1; cluster <= clusters; cluster++) {
    const member = world.cluster(`member${cluster}`);
    await prepareCluster(member, true, signal);
    for (let i = 0; i < SERVICES; i++) {
      const name = `cart-${cluster}-${i}`;
      // In the member's pod range, where the sandbox's node gives none out first.
      const peer = (n: number) => `127.${10 + cluster}.240.${2 * i + n}`;
      const service = { name, host: `${name}.example.test`, port };
      const peers = [peer(1), peer(2)] as const;
      await installService(hub, member, service, peers[0], signal);
      const peersKey = fleetKeys.peers("default", upstreamId(NAMESPACE, name, ""), `member${cluster}`);
      all.push({ ...service, server: member.server, peers, peersKey, at: 0, busy: false });
    }
  }
  // Neighbours in time are of different clusters.
  return all.map((_, n) => all[(n % clusters) * SERVICES + Math.floor(n / clusters)]!);
}

async function firstAnswers(services: readonly Moving[], asker: Asker, signal: AbortSignal): Promise<void> {
  const deadline = performance.now() + 60_000;
  for (const { host, peers } of services) {
    while ((await asker.ask(host)) !== peers[0]) {
      if (performance.now() > deadline) throw new Error(`${peers[0]} never answered for ${host}`);
      await delay(20, undefined, { signal });
    }
  }
}

async function offer(
  services: readonly Moving[],
  free: Asker[],
  agent: Agent,
  rate: number,
  seconds: number,
  stages: Stages,
  signal: AbortSignal,
): Promise<Offer & { readonly totals: number[] }> {
  const totals: number[] = [];
  let lost = 0;
  let skipped = 0;
  const running = new Set<Promise<void>>();
  const wanted = Math.round(rate * seconds);
  const began = performance.now();
  let turn = 0;
  let made = 0;
  const one = async (service: Moving): Promise<void> => {
    service.busy = true;
    service.at = service.at === 0 ? 1 : 0;
    const peer = service.peers[service.at];
    const storedAt = await moveEndpoint(service.server, service, peer, agent, signal);
    const answeredAt = await answered(service.host, peer, free, signal);
    if (answeredAt === null) lost++;
    else {
      totals.push(answeredAt - storedAt);
      stages.made(service.peersKey, storedAt, answeredAt);
    }
    service.busy = false;
  };
  for (let due = 0; due < wanted; ) {
    const now = Math.min(wanted, Math.floor(((performance.now() - began) / 1000) * rate));
    for (; due < now; due++) {
      const service = nextFree(services, turn);
      if (service === null) {
        skipped++;
        continue;
      }
      turn = services.indexOf(service) + 1;
      made++;
      const task = one(service).finally(() => running.delete(task));
      running.add(task);
    }
    await delay(TICK_MS, undefined, { signal });
  }
  const took = (performance.now() - began) / 1000;
  await Promise.all(running);
  return {
    rate,
    madePerSecond: made / took,
    samples: totals.length,
    p50: percentile(totals, 0.5),
    p99: percentile(totals, 0.99),
    max: totals.reduce((a, b) => Math.max(a, b), 0),
    lost,
    skipped,
    totals,
  };
}

function nextFree(services: readonly Moving[], from: number): Moving | null {
  for (let i = 0; i < services.length; i++) {
    const service = services[(from + i) % services.length]!;
    if (!service.busy) return service;
  }
  return null;
}

/** @returns when the new peer answered first, ms since 1970; null: not in time */
async function answered(
  host: string,
  peer: string,
  free: Asker[],
  signal: AbortSignal,
): Promise<number | null> {
  const began = performance.now();
  while (performance.now() - began < LOST_MS) {
    const asker = free.pop();
    if (asker !== undefined) {
      const body = await asker.ask(host);
      const at = performance.timeOrigin + performance.now();
      free.push(asker);
      if (body === peer) return at;
    }
    await delay(Math.max(ASK_MS, (performance.now() - began) / ASK_SHARE), undefined, { signal });
  }
  return null;
}

/** By doubling, then twice by halving what is between. @returns 0 when not even a quarter of the asked rate holds */
async function highestRate(
  asked: number,
  first: Offer,
  measure: (rate: number) => Promise<Offer>,
): Promise<number> {
  const holds = (one: Offer) => one.p99 <= HOLDS_MS && one.lost === 0 && one.skipped === 0;
  let low = holds(first) ? asked : 0;
  let high = holds(first) ? Number.POSITIVE_INFINITY : asked;
  for (let tries = 0; tries < 4; tries++) {
    const rate = Math.round(high === Number.POSITIVE_INFINITY ? low * 2 : (low + high) / 2);
    if (holds(await measure(rate))) low = rate;
    else high = rate;
  }
  return low;
}

/** Every process of the world by name; what `npm start` itself runs is the sandbox with its clusters' APIs. */
function processesOf(world: StartedWorld): Map<string, number> {
  const named = new Map<string, number>();
  for (const { name, pid } of world.addresses.processes) if (pid !== null) named.set(name, pid);
  const [start] = childrenOf(world.launcher.pid ?? 0);
  if (start !== undefined) named.set("sandbox", start);
  return named;
}

function childrenOf(pid: number): number[] {
  return readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8")
    .trim()
    .split(" ")
    .filter(Boolean)
    .map(Number);
}

/** CPU used so far by name, ms; the bench's own, with its peers and its asking, too. */
async function usedBy(pids: ReadonlyMap<string, number>): Promise<Map<string, number>> {
  const used = new Map<string, number>();
  for (const [name, pid] of pids) {
    const family = name === "nginx" ? await familyOf(pid) : [pid];
    let sum = 0;
    for (const each of family) sum += await cpuMs(each);
    used.set(name, sum);
  }
  const { user, system } = process.cpuUsage();
  used.set("bench", (user + system) / 1000);
  return used;
}
