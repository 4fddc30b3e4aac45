import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { defaultSettings } from "@sluice/ingress";
import { ensureTool, freePort, type Tool } from "@sluice/native-tools";
import { prepareNginx } from "@sluice/proxy-agent";
import {
  backendConf,
  confPathOf,
  renderNginx,
  startNginx,
  staticConf,
  testConf,
  unroutedConf,
} from "@sluice/proxy-agent/testing";
import { type BenchResult, median, thisMachine, writeRaw } from "./bench-result.ts";

export interface ThroughputOptions {
  readonly signal: AbortSignal;
  readonly alternations?: number;
  readonly seconds?: number;
  /** Sets of settings that paths use in turn, so that requests are sent on to a location of theirs; 0: the default one. */
  readonly profiles?: number;
  /** Milliseconds; 0: off, as Sluice is without `--first-byte-timeout`. */
  readonly firstByteTimeoutMs?: number;
  log?(line: string): void;
}

type Variant = "sluice" | "static" | "unrouted";
interface Rate {
  /** Requests a second. */
  readonly rps: number;
  /** Microseconds of CPU that this nginx spent on a request: hardly moved by what else the machine does. */
  readonly cpuUs: number;
  /** With CALM_CONNECTIONS, so that requests do not wait for each other, ms. */
  readonly p99Ms: number;
}
type Sample = Readonly<Record<Variant, Rate>>;

const HOSTS = 1000;
const PATHS = 6;
const CONNECTIONS = 32;
const CALM_CONNECTIONS = 2;
const WARM_UP_SECONDS = 1;
const CALM_SECONDS = 2;
const PEERS = 4;

/** A hundred of the hosts in turn, so that the route is not always the one that was just looked up. */
const script = `
local requests, i = {}, 0
init = function()
  for n = 0, 99 do
    requests[n + 1] = wrk.format("GET", "/p" .. n % ${PATHS} .. "/item", { Host = "h" .. n .. ".example.test" })
  end
end
request = function()
  i = i % 100 + 1
  return requests[i]
end
`;

async function post(socketPath: string, rows: readonly unknown[], signal: AbortSignal): Promise<void> {
  const answer = await new Promise<string>((resolve, reject) => {
    const sent = request({ socketPath, path: "/apply", method: "POST", signal }, (response) => {
      let text = "";
      response.on("data", (chunk: Buffer) => {
        text += chunk.toString();
      });
      response.on("end", () => resolve(text));
      response.on("error", reject);
    });
    sent.on("error", reject);
    sent.end(JSON.stringify({ rows }));
  });
  if (!answer.includes('"instance"') || answer.includes('"refused"'))
    throw new Error(`rows refused: ${answer}`);
}

const profileAt = (n: number, profiles: number) => (profiles === 0 ? "default" : `bench${n % profiles}`);

function rows(peers: readonly string[], profiles: number): unknown[] {
  const out: unknown[] = [];
  const list = peers.map((peer) => [peer.split(":")[0], Number(peer.split(":")[1]), 1]);
  for (let n = 0; n < HOSTS; n++) {
    const ids = Array.from({ length: PATHS }, (_, p) => `echo-${n}-${p}`);
    for (const id of ids) out.push({ k: "peers", upstream: id, cluster: "member1", peers: list });
    out.push({
      k: "route",
      host: `h${n}.example.test`,
      paths: ids.map((id, p) => ["P", `/p${p}`, id, profileAt(n * PATHS + p, profiles)]),
    });
  }
  out.push({ k: "peers", upstream: "echo", cluster: "member1", peers: list });
  return out;
}

/** Clock ticks are 10 ms on every Linux that Node runs on. */
const TICK_US = 10_000;

/** CPU time of an nginx master's workers so far, in microseconds. */
async function cpuUs(master: number): Promise<number> {
  const children = await readFile(`/proc/${master}/task/${master}/children`, "utf8");
  let ticks = 0;
  for (const pid of children.trim().split(" ")) {
    const stat = await readFile(`/proc/${pid}/stat`, "utf8");
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    ticks += Number(fields[11]) + Number(fields[12]);
  }
  return ticks * TICK_US;
}

interface Asked {
  readonly rps: number;
  readonly requests: number;
  readonly p99Ms: number;
}

async function ask(
  wrk: Tool,
  address: string,
  load: { readonly connections: number; readonly seconds: number; readonly script: string },
  signal: AbortSignal,
): Promise<Asked> {
  const { connections, seconds, script: path } = load;
  const { stdout } = await promisify(execFile)(
    wrk.path,
    ["-t1", `-c${connections}`, `-d${seconds}s`, "--latency", "-s", path, `http://${address}/`],
    { env: { ...process.env, ...wrk.env }, signal, timeout: (seconds + 20) * 1000 },
  );
  const errors = /Non-2xx or 3xx responses: (\d+)|Socket errors: (.*)/.exec(stdout);
  if (errors !== null) throw new Error(`${address}: not every answer was good: ${errors[0]}`);
  const rps = Number(/Requests\/sec:\s+([0-9.]+)/.exec(stdout)?.[1]);
  const requests = Number(/(\d+) requests in/.exec(stdout)?.[1]);
  const [, p99, unit = ""] = /99%\s+([0-9.]+)(us|ms|s)/.exec(stdout) ?? [];
  const p99Ms = Number(p99) * (unit === "us" ? 0.001 : unit === "ms" ? 1 : 1000);
  if (![rps, requests, p99Ms].every(Number.isFinite)) throw new Error(`wrk said: ${stdout}`);
  return { rps, requests, p99Ms };
}

async function measure(
  wrk: Tool,
  { address, pid }: { readonly address: string; readonly pid: number },
  script: string,
  seconds: number,
  signal: AbortSignal,
): Promise<Rate> {
  const before = await cpuUs(pid);
  const full = await ask(wrk, address, { connections: CONNECTIONS, seconds, script }, signal);
  const used = (await cpuUs(pid)) - before;
  const calm = { connections: CALM_CONNECTIONS, seconds: Math.min(CALM_SECONDS, seconds), script };
  const { p99Ms } = await ask(wrk, address, calm, signal);
  return { rps: full.rps, cpuUs: used / full.requests, p99Ms };
}

/**
 * Sluice's nginx with its whole data plane beside the same nginx with a static upstream block, in turns, so that what
 * else the machine does meets both; and beside the same balancer without routing.
 */
export async function throughput(options: ThroughputOptions): Promise<BenchResult> {
  const { signal } = options;
  const alternations = options.alternations ?? 9;
  const profiles = options.profiles ?? 0;
  const seconds = options.seconds ?? 5;
  const log = options.log ?? (() => {});
  const [nginx, wrk] = await Promise.all([ensureTool("nginx", { signal }), ensureTool("wrk", { signal })]);
  await using stack = new AsyncDisposableStack();
  const root = await mkdtemp(join(tmpdir(), "sluice-bench-"));
  stack.defer(() => rm(root, { recursive: true, force: true }));

  const backendPort = await freePort();
  const peers = Array.from({ length: PEERS }, (_, i) => `127.0.0.${i + 1}:${backendPort}`);
  const start = async (
    name: string,
    text: ((conf: ReturnType<typeof testConf>) => string) | null,
    workers: number,
  ) => {
    const dir = join(root, name);
    const address = `127.0.0.1:${await freePort()}`;
    const firstByteTimeoutMs = options.firstByteTimeoutMs ?? 0;
    const own = { dir, tool: nginx, httpAddress: address, workers, firstByteTimeoutMs };
    const prepared = await prepareNginx(own);
    if (text !== null) await writeFile(confPathOf(dir), text(testConf(own)));
    else if (profiles > 0) {
      // One millisecond apart, so that they are as many locations and alike.
      const settings = Array.from({ length: profiles }, (_, n) => ({
        ...defaultSettings,
        readTimeoutMs: defaultSettings.readTimeoutMs + n + 1,
      }));
      const rendered = renderNginx(own, new Map(settings.map((each, n) => [profileAt(n, profiles), each])));
      await writeFile(rendered.settingsFile, rendered.settings);
      await writeFile(confPathOf(dir), rendered.conf);
    }
    const running = await startNginx(prepared, name === "backend" ? peers[0]! : address, signal);
    stack.use(running);
    return { address, pid: running.pid, socketPath: prepared.socketPath };
  };
  await start("backend", (conf) => backendConf(conf, peers), 1);
  const proxies = {
    sluice: await start("sluice", null, 2),
    static: await start("static", (conf) => staticConf(conf, peers), 2),
    unrouted: await start("unrouted", unroutedConf, 2),
  };
  const all = rows(peers, profiles);
  for (const { socketPath } of [proxies.sluice, proxies.unrouted]) {
    for (let i = 0; i < all.length; i += 500) await post(socketPath, all.slice(i, i + 500), signal);
  }
  const scriptPath = join(root, "requests.lua");
  await writeFile(scriptPath, script);

  const variants: readonly Variant[] = ["sluice", "static", "unrouted"];
  for (const variant of variants) await measure(wrk, proxies[variant], scriptPath, WARM_UP_SECONDS, signal);
  const samples: Sample[] = [];
  for (let round = 0; round < alternations; round++) {
    const sample: Partial<Record<Variant, Rate>> = {};
    // The order turns, so that none is always the one after an idle moment.
    for (let i = 0; i < variants.length; i++) {
      const variant = variants[(round + i) % variants.length]!;
      sample[variant] = await measure(wrk, proxies[variant], scriptPath, seconds, signal);
    }
    const whole = sample as Sample;
    samples.push(whole);
    const shown = variants.map((v) => `${v} ${whole[v].rps.toFixed(0)}/s, ${whole[v].cpuUs.toFixed(1)} µs`);
    log(`${round + 1}/${alternations}: ${shown.join("; ")}`);
  }
  const over = (f: (sample: Sample) => number) => samples.map(f);
  const ratios = over((s) => s.sluice.rps / s.static.rps);
  return {
    bench: "throughput",
    figures: {
      ratio: median(ratios),
      ratio_min: Math.min(...ratios),
      ratio_max: Math.max(...ratios),
      ratio_without_routing: median(over((s) => s.unrouted.rps / s.static.rps)),
      rps_sluice: median(over((s) => s.sluice.rps)),
      rps_static: median(over((s) => s.static.rps)),
      cpu_us_sluice: median(over((s) => s.sluice.cpuUs)),
      cpu_us_static: median(over((s) => s.static.cpuUs)),
      cpu_ratio: median(over((s) => s.sluice.cpuUs / s.static.cpuUs)),
      p99_ms_sluice: median(over((s) => s.sluice.p99Ms)),
      p99_ms_static: median(over((s) => s.static.p99Ms)),
      added_p99_ms: median(over((s) => s.sluice.p99Ms - s.static.p99Ms)),
      cpu_us_without_routing: median(over((s) => s.unrouted.cpuUs)),
    },
    goals: { ratio: profiles === 0 ? 0.95 : 0.93, cpu_ratio: 1.1, added_p99_ms: 0.2 },
    samples: samples.length,
    raw: await writeRaw("throughput", samples),
    machine: thisMachine(),
  };
}
