import { type ChildProcess, spawn } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { type Bus, connectBus } from "@sluice/bus";
import { fleetTable, proxiesTable, type TableSpec, TOPOLOGY_PARTITIONS } from "@sluice/contracts";
import { ensureTool, freePort, startNatsServer } from "@sluice/native-tools";
import { prepareNginx } from "@sluice/proxy-agent";
import { startNginx } from "@sluice/proxy-agent/testing";
import { createKit } from "@sluice/service-kit";
import { type BenchResult, percentile, thisMachine, writeRaw } from "./bench-result.ts";
import { cpuMs, familyOf, memoryOf } from "./process-figures.ts";
import type { FeederOrder, FeederReport } from "./scale-feeder.ts";
import { startScaleHub } from "./scale-hub.ts";
import { addressAt, numberOf, type ScaleSize } from "./scale-plan.ts";
import { ServiceProcess } from "./service-process.ts";

export interface ScaleOptions {
  readonly signal: AbortSignal;
  readonly clusters: number;
  readonly services: number;
  readonly endpoints: number;
  /** `SERVICE=DURATION`: planted delays, which the figures must show. */
  readonly inject?: readonly string[];
  /** Seconds that one rate is offered. */
  readonly seconds?: number;
  /** Changes a second that are asked for, and that the lag is told at. */
  readonly rate?: number;
  /** Finds the highest rate that holds; otherwise only the asked one is tried. */
  readonly search?: boolean;
  /** Node's arguments for every service, e.g. a profiler's. */
  readonly nodeArgs?: readonly string[];
  log(line: string): void;
}

const CLUSTERS_PER_SERVICE = 5;
const FILL_MS = 600_000;
const READY_MS = 300_000;
/** A rate holds when of its changes 99 in 100 arrive within this time, ms, and the last ones too. */
const LAG_MS = 1000;
/** After this long a change that has not arrived is lost. */
const LOST_MS = 60_000;
const CALM_MS = 120_000;
/** Idle processes take less, busy ones more. */
const CALM_CORES = 0.5;
const MOST_CHANGES = 4_000_000;
/** nginx keeps about 3,100 peers in a megabyte of its shared memory; a quarter more for hosts and for changes. */
const PEERS_PER_MEGABYTE = 2500;

interface Offer {
  readonly offered: number;
  readonly arrived: number;
  readonly arrivalsPerSecond: number;
  readonly lagP50: number;
  readonly lagP99: number;
  readonly lagMax: number;
  /** From the last change to the arrival of the last one, ms. */
  readonly tailMs: number;
  readonly lost: number;
  readonly held: boolean;
}

/** What the renderer has written, as a reader of `fleet` sees it. */
class Arrivals {
  readonly #arrived = new Uint8Array(MOST_CHANGES);
  readonly #first: number;
  #lags: number[] = [];
  #count = 0;
  /** performance.now() of the newest arrival. */
  lastAt = 0;
  firstAt = 0;

  /** @param first number of the first address that a change will make */
  constructor(first: number) {
    this.#first = first;
  }

  note(addresses: Iterable<string>, seenAt: number | undefined): void {
    for (const address of addresses) {
      const at = numberOf(address) - this.#first;
      if (at < 0 || at >= MOST_CHANGES || this.#arrived[at] === 1) continue;
      this.#arrived[at] = 1;
      this.#count++;
      this.lastAt = performance.now();
      if (this.firstAt === 0) this.firstAt = this.lastAt;
      if (seenAt !== undefined) this.#lags.push(performance.timeOrigin + this.lastAt - seenAt);
    }
  }

  get count(): number {
    return this.#count;
  }

  begin(): void {
    this.#lags = [];
    this.#count = 0;
    this.firstAt = 0;
  }

  get lags(): readonly number[] {
    return this.#lags;
  }

  missing(first: number, end: number): number[] {
    const missing: number[] = [];
    for (let n = first; n < end; n++) if (this.#arrived[n - this.#first] !== 1) missing.push(n);
    return missing;
  }
}

/** `_meta.synced.<part>` of `topology` alone, so that nobody has to read all of it to see when it is in order. */
const syncedParts: TableSpec = {
  name: "topology",
  storage: "file",
  // `synced` is no envelope with data: that it came is all that counts.
  schemaOf: () => ({}),
};

/**
 * Everything behind the sources real and in processes of its own: bus, aggregator, renderer, gateway, agent and nginx.
 * A feeder plays all member-watchers; a scripted hub holds an import and an MCI for each service, so that the rows of
 * all of them are rendered.
 */
export async function scale(options: ScaleOptions): Promise<BenchResult> {
  const { signal, log } = options;
  const size: ScaleSize = {
    ...options,
    clustersPerService: Math.min(CLUSTERS_PER_SERVICE, options.clusters),
  };
  await using stack = new AsyncDisposableStack();
  const root = await mkdtemp(join(tmpdir(), "sluice-scale-"));
  stack.defer(() => rm(root, { recursive: true, force: true, maxRetries: 5, retryDelay: 200 }));
  const [nginxTool, natsTool] = await Promise.all([
    ensureTool("nginx", { signal, log }),
    ensureTool("nats-server", { signal, log }),
  ]);
  const nats = stack.use(await startNatsServer({ tool: natsTool, storeDir: join(root, "nats"), signal }));
  const hub = stack.use(await startScaleHub(size.services));
  const kubeconfig = join(root, "hub.json");
  await writeFile(kubeconfig, JSON.stringify(hub.kubeconfig));

  const nginxDir = join(root, "proxy");
  const httpAddress = `127.0.0.1:${await freePort()}`;
  const rowsMegabytes = Math.max(64, Math.ceil(size.endpoints / PEERS_PER_MEGABYTE));
  const plan = {
    dir: nginxDir,
    tool: nginxTool,
    httpAddress,
    workers: 2,
    firstByteTimeoutMs: 0,
    rowsMegabytes,
  };
  const nginx = stack.use(await startNginx(await prepareNginx(plan), httpAddress, signal));

  const busFlags = ["--nats-url", nats.url, "--log-level", "info"];
  const service = (name: string, ...args: string[]) => {
    const delayed = options.inject?.find((each) => each.startsWith(`${name}=`));
    if (delayed !== undefined) args.push("--inject-delay", delayed.slice(name.length + 1));
    const { nodeArgs = [] } = options;
    const started = new ServiceProcess(name, [...busFlags, ...args], {
      logFile: join(root, `${name}.log`),
      nodeArgs,
    });
    return stack.use(started);
  };
  const gatewayPort = await freePort();
  const aggregator = service("aggregator", "--hub", "off");
  const renderer = service("config-renderer", "--hub", kubeconfig);
  const gateway = service("topology-gateway", "--gateway-port", String(gatewayPort));
  const agent = service("proxy-agent", "--nginx-dir", nginxDir, "--proxy", "proxy1");
  const services = [aggregator, renderer, gateway, agent];
  const check = () => {
    for (const each of services) each.check();
  };
  for (const each of services) await each.start();

  const controller = new AbortController();
  const kit = createKit({ service: "bench", signal: controller.signal });
  const bus = await connectBus({ url: nats.url, name: "bench", kit });
  const arrivals = new Arrivals(size.endpoints);
  const seen = watchBus(bus, arrivals);
  stack.defer(async () => {
    controller.abort(new Error("done"));
    await seen.done;
    await bus.close();
  });

  const memory = async () => {
    const found: Record<string, { nowMb: number; peakMb: number }> = {
      "nats-server": await memoryOf(nats.pid),
    };
    for (const each of services) found[each.name] = await memoryOf(each.pid);
    let nowMb = 0;
    let peakMb = 0;
    for (const pid of await familyOf(nginx.pid)) {
      const one = await memoryOf(pid);
      nowMb = Math.max(nowMb, one.nowMb);
      peakMb = Math.max(peakMb, one.peakMb);
    }
    // Workers and master share the rows: the largest of them stands for all.
    found["nginx"] = { nowMb, peakMb };
    return found;
  };

  /** CPU that each process has used so far, ms. */
  const cpu = async () => {
    const used: Record<string, number> = { "nats-server": await cpuMs(nats.pid), nginx: 0 };
    for (const each of services) used[each.name] = await cpuMs(each.pid);
    for (const pid of await familyOf(nginx.pid)) used["nginx"] = (used["nginx"] ?? 0) + (await cpuMs(pid));
    return used;
  };

  for (const each of [aggregator, gateway]) await each.ready(READY_MS, signal);
  await delay(1000, undefined, { signal });
  const empty = await memory();

  const feeder = stack.use(new Feeder(nats.url, size, signal));
  await feeder.started;
  log(
    `filling: ${size.services} services in ${size.clustersPerService} of ${size.clusters} clusters, ${size.endpoints} endpoints`,
  );
  const fillBegan = performance.now();
  const filled = await feeder.order({ kind: "fill" }, "filled", FILL_MS);
  log(`the sources have written all after ${filled.seconds.toFixed(1)} s`);
  await waitFor(
    () => seen.peers() >= size.endpoints,
    FILL_MS,
    signal,
    () => {
      check();
      return `${seen.peers()} of ${size.endpoints} endpoints are rendered`;
    },
  );
  const fillS = (performance.now() - fillBegan) / 1000;
  log(`all rows are rendered after ${fillS.toFixed(1)} s`);
  for (const each of services) await each.ready(READY_MS, signal);
  await waitFor(
    () => seen.applied() >= seen.revision(),
    READY_MS,
    signal,
    () => {
      check();
      return `the proxy is at ${seen.applied()} of ${seen.revision()}`;
    },
  );
  const appliedS = (performance.now() - fillBegan) / 1000;
  log(`nginx has them after ${appliedS.toFixed(1)} s`);

  const calmS = await calm(cpu, signal);
  log(`all are calm ${calmS.toFixed(1)} s later`);

  const seconds = options.seconds ?? 20;
  const asked = options.rate ?? 1000;
  const offers: Offer[] = [];
  const offer = async (rate: number, forSeconds: number): Promise<Offer> => {
    const one = await offerRate(feeder, arrivals, seen, rate, forSeconds, signal, check);
    log(
      `${rate}/s: ${one.arrivalsPerSecond.toFixed(0)}/s arrived, lag p50 ${one.lagP50.toFixed(1)} ms, ` +
        `p99 ${one.lagP99.toFixed(0)} ms, last after ${one.tailMs.toFixed(0)} ms, ${one.lost} lost`,
    );
    offers.push(one);
    return one;
  };
  // Just-in-time compilers and file caches settle first.
  await offer(Math.min(asked, 300), Math.min(seconds, 5));
  const cpuBefore = await cpu();
  const atAsked = await offer(asked, seconds);
  const cpuAfter = await cpu();
  const held = options.search === false ? atAsked : await highest(offer, atAsked, asked, seconds);
  const loaded = await memory();

  const status = await statusMs(gatewayPort, signal);
  const coldAggregator = await coldStart(
    aggregator,
    () => seen.syncedParts() >= TOPOLOGY_PARTITIONS,
    seen,
    signal,
  );
  log(`aggregator: in order ${coldAggregator.toFixed(1)} s after its start`);
  const coldRenderer = await coldStart(renderer, () => seen.fleetSyncs() > 0, seen, signal);
  log(`config-renderer: in order ${coldRenderer.toFixed(1)} s after its start`);
  const coldGateway = await coldStart(gateway, () => true, seen, signal);
  const coldAgent = await coldStart(agent, () => true, seen, signal);
  const after = await offer(Math.min(asked, 300), Math.min(seconds, 3));
  const last = await memory();

  const figures: Record<string, number> = {
    changes_per_s: held.held ? held.arrivalsPerSecond : 0,
    changes_per_s_asked_rate: atAsked.arrivalsPerSecond,
    lag_p50_ms: atAsked.lagP50,
    lag_p99_ms: atAsked.lagP99,
    lost: [...offers, after].reduce((sum, one) => sum + one.lost, 0),
    fill_s: fillS,
    fill_applied_s: appliedS,
    fill_calm_s: calmS,
    cold_start_s: Math.max(coldAggregator, coldRenderer),
    cold_start_s_aggregator: coldAggregator,
    cold_start_s_config_renderer: coldRenderer,
    cold_start_s_topology_gateway: coldGateway,
    cold_start_s_proxy_agent: coldAgent,
    status_ms: status,
  };
  let cpuSum = 0;
  for (const [name, used] of Object.entries(cpuAfter)) {
    const each = (used - (cpuBefore[name] ?? 0)) / atAsked.offered;
    figures[`cpu_ms_per_change_${name.replaceAll("-", "_")}`] = each;
    cpuSum += each;
  }
  figures["cpu_ms_per_change"] = cpuSum;
  let rssMax = 0;
  let bytesMax = 0;
  for (const name of Object.keys(loaded)) {
    const peak = Math.max(loaded[name]?.peakMb ?? 0, last[name]?.peakMb ?? 0);
    const bytes = (((loaded[name]?.nowMb ?? 0) - (empty[name]?.nowMb ?? 0)) * 1024 * 1024) / size.endpoints;
    const id = name.replaceAll("-", "_");
    figures[`rss_mb_${id}`] = peak;
    figures[`bytes_per_endpoint_${id}`] = bytes;
    rssMax = Math.max(rssMax, peak);
    bytesMax = Math.max(bytesMax, bytes);
  }
  figures["rss_mb_max"] = rssMax;
  figures["bytes_per_endpoint"] = bytesMax;
  return {
    bench: "scale",
    figures,
    goals: { changes_per_s: 1000, rss_mb_max: 2048, cold_start_s: 30, lost: 0 },
    samples: offers.reduce((sum, one) => sum + one.arrived, 0),
    raw: await writeRaw("scale", { size, empty, loaded, last, offers }),
    machine: thisMachine(),
  };
}

/** The highest rate that holds, by doubling and then two halvings of what is between. */
async function highest(
  offer: (rate: number, seconds: number) => Promise<Offer>,
  first: Offer,
  asked: number,
  seconds: number,
): Promise<Offer> {
  let best = first;
  let low = first.held ? asked : 0;
  let high = first.held ? Number.POSITIVE_INFINITY : asked;
  let rate = first.held ? asked * 2 : asked / 2;
  for (let tries = 0; tries < 4; tries++) {
    const one = await offer(Math.round(rate), seconds / 2);
    if (one.held) {
      low = rate;
      best = one;
    } else high = rate;
    rate = high === Number.POSITIVE_INFINITY ? low * 2 : (low + high) / 2;
  }
  return best;
}

async function offerRate(
  feeder: Feeder,
  arrivals: Arrivals,
  seen: Seen,
  rate: number,
  seconds: number,
  signal: AbortSignal,
  check: () => void,
): Promise<Offer> {
  arrivals.begin();
  const {
    first,
    end,
    seconds: took,
  } = await feeder.order({ kind: "change", perSecond: rate, seconds }, "changed", (seconds + 120) * 1000);
  const offered = end - first;
  const madeAt = performance.now();
  const deadline = madeAt + LOST_MS;
  while (arrivals.count < offered && performance.now() < deadline) {
    check();
    await delay(5, undefined, { signal });
  }
  const lags = arrivals.lags;
  const missing = arrivals.missing(first, end);
  const tailMs = Math.max(0, arrivals.lastAt - madeAt);
  const lagP99 = percentile(lags, 0.99);
  const spanS = Math.max(took, (arrivals.lastAt - arrivals.firstAt) / 1000);
  await waitFor(
    () => seen.applied() >= seen.revision(),
    LOST_MS,
    signal,
    () =>
      `the proxy is at ${seen.applied()} of ${seen.revision()}, address ${addressAt(end - 1)} was made last`,
  );
  return {
    offered,
    arrived: arrivals.count,
    arrivalsPerSecond: arrivals.count / spanS,
    lagP50: percentile(lags, 0.5),
    lagP99,
    lagMax: lags.reduce((a, b) => Math.max(a, b), 0),
    tailMs,
    lost: missing.length,
    held: missing.length === 0 && lagP99 <= LAG_MS && tailMs <= LAG_MS && offered / took >= rate * 0.98,
  };
}

/**
 * A fill leaves work behind: the log, events, copies on disk, what collectors of garbage do. Rates are asked for steady
 * ones. @returns seconds until all processes together took less than CALM_CORES, at most CALM_MS
 */
async function calm(cpu: () => Promise<Record<string, number>>, signal: AbortSignal): Promise<number> {
  const total = async () => Object.values(await cpu()).reduce((sum, each) => sum + each, 0);
  const began = performance.now();
  for (let used = await total(); performance.now() - began < CALM_MS; ) {
    await delay(2000, undefined, { signal });
    const now = await total();
    if (now - used < CALM_CORES * 2000) break;
    used = now;
  }
  return (performance.now() - began) / 1000;
}

/** Ends a process in order and starts it again on the bus as it stands. @returns seconds until it is in order */
async function coldStart(
  service: ServiceProcess,
  inOrder: () => boolean,
  seen: Seen,
  signal: AbortSignal,
): Promise<number> {
  await service.stop();
  seen.forgetSyncs();
  const began = performance.now();
  await service.start();
  await service.ready(READY_MS, signal);
  await waitFor(inOrder, READY_MS, signal, () => `${service.name} is ready, but its parts are not synced`);
  return (performance.now() - began) / 1000;
}

async function statusMs(port: number, signal: AbortSignal): Promise<number> {
  const times: number[] = [];
  for (let i = 0; i < 5; i++) {
    const began = performance.now();
    const answer = await fetch(`http://127.0.0.1:${port}/api/v1/status`, { signal });
    await answer.text();
    if (!answer.ok) throw new Error(`the gateway answered ${answer.status}`);
    times.push(performance.now() - began);
  }
  return percentile(times, 0.5);
}

interface Seen {
  /** Peers in all rows of the fleet. */
  peers(): number;
  /** Highest revision of the fleet's rows. */
  revision(): number;
  /** Highest revision that the proxy says it has applied. */
  applied(): number;
  syncedParts(): number;
  fleetSyncs(): number;
  forgetSyncs(): void;
  readonly done: Promise<unknown>;
}

function watchBus(bus: Bus, arrivals: Arrivals): Seen {
  const counts = new Map<string, number>();
  let peers = 0;
  let applied = 0;
  let revision = 0;
  let fleetSyncs = 0;
  const parts = new Set<string>();
  const fleet = bus.view(fleetTable, {
    filter: "default.>",
    onChange: (key, row, meta) => {
      revision = meta.revision;
      if (row === undefined || !("peers" in row)) return;
      peers += row.peers.length - (counts.get(key) ?? 0);
      counts.set(key, row.peers.length);
      const at = meta.trace?.at["watch"];
      arrivals.note(
        row.peers.map(({ address }) => address),
        at,
      );
    },
    onSettled: () => {
      fleetSyncs++;
    },
  });
  const synced = bus.view(syncedParts, {
    filter: "_meta.synced.*",
    onChange: (key) => void parts.add(key),
  });
  const proxies = bus.view(proxiesTable, {
    onChange: (_key, record) => {
      if (record !== undefined) applied = record.revision;
    },
  });
  return {
    peers: () => peers,
    revision: () => revision,
    applied: () => applied,
    syncedParts: () => parts.size,
    fleetSyncs: () => fleetSyncs,
    forgetSyncs: () => {
      parts.clear();
      fleetSyncs = 0;
    },
    done: Promise.all([fleet.done, synced.done, proxies.done]),
  };
}

async function waitFor(
  condition: () => boolean,
  withinMs: number,
  signal: AbortSignal,
  explain: () => string,
): Promise<void> {
  const deadline = performance.now() + withinMs;
  for (let at = 0; !condition(); at++) {
    if (at % 100 === 0) explain();
    if (performance.now() > deadline) throw new Error(`after ${withinMs / 1000} s: ${explain()}`);
    await delay(20, undefined, { signal });
  }
}

/** The process that plays the member-watchers. */
class Feeder implements AsyncDisposable {
  readonly #child: ChildProcess;
  readonly started: Promise<unknown>;
  readonly #signal: AbortSignal;

  constructor(url: string, size: ScaleSize, signal: AbortSignal) {
    this.#signal = signal;
    const main = new URL("scale-feeder.ts", import.meta.url).pathname;
    const args = [
      "--disable-warning=ExperimentalWarning",
      "--max-old-space-size=6000",
      main,
      url,
      JSON.stringify(size),
    ];
    this.#child = spawn(process.execPath, args, { stdio: ["ignore", "inherit", "inherit", "ipc"] });
    this.started = this.#answer("started", 60_000);
  }

  async order<K extends FeederReport["kind"]>(
    order: FeederOrder,
    answer: K,
    withinMs: number,
  ): Promise<Extract<FeederReport, { kind: K }>> {
    const answered = this.#answer(answer, withinMs);
    this.#child.send(order);
    return answered;
  }

  #answer<K extends FeederReport["kind"]>(
    kind: K,
    withinMs: number,
  ): Promise<Extract<FeederReport, { kind: K }>> {
    const { promise, resolve, reject } = Promise.withResolvers<Extract<FeederReport, { kind: K }>>();
    const late = setTimeout(() => reject(new Error(`the feeder did not say ${kind}`)), withinMs);
    const heard = (report: FeederReport) => {
      if (report.kind === "failed") reject(new Error(`the feeder failed: ${report.message}`));
      else if (report.kind === kind) resolve(report as Extract<FeederReport, { kind: K }>);
    };
    const exited = (code: number | null) => reject(new Error(`the feeder ended with ${code}`));
    const aborted = () => reject(this.#signal.reason);
    this.#child.on("message", heard);
    this.#child.once("exit", exited);
    this.#signal.addEventListener("abort", aborted, { once: true });
    return promise.finally(() => {
      clearTimeout(late);
      this.#child.off("message", heard);
      this.#child.off("exit", exited);
      this.#signal.removeEventListener("abort", aborted);
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const exited = new Promise<void>((resolve) => this.#child.once("exit", () => resolve()));
    this.#child.kill("SIGTERM");
    const late = setTimeout(() => this.#child.kill("SIGKILL"), 10_000);
    await exited;
    clearTimeout(late);
  }
}
