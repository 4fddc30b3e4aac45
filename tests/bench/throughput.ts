import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { ensureTool, freePort, type Tool } from "@sluice/native-tools";
import { prepareNginx } from "@sluice/proxy-agent";
import {
  backendConf,
  confPathOf,
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
}
type Sample = Readonly<Record<Variant, Rate>>;

const HOSTS = 1000;
const PATHS = 6;
const CONNECTIONS = 32;
const WARM_UP_SECONDS = 1;
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

function rows(peers: readonly string[]): unknown[] {
  const out: unknown[] = [];
  const list = peers.map((peer) => [peer.split(":")[0], Number(peer.split(":")[1]), 1]);
  for (let n = 0; n < HOSTS; n++) {
    const ids = Array.from({ length: PATHS }, (_, p) => `echo-${n}-${p}`);
    for (const id of ids) out.push({ k: "peers", upstream: id, cluster: "member1", peers: list });
    out.push({
      k: "route",
      host: `h${n}.example.test`,
      paths: ids.map((id, p) => ["P", `/p${p}`, id, "default"]),
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

async function measure(
  wrk: Tool,
  { address, pid }: { readonly address: string; readonly pid: number },
  scriptPath: string,
  seconds: number,
  signal: AbortSignal,
): Promise<Rate> {
  const before = await cpuUs(pid);
  const { stdout } = await promisify(execFile)(
    wrk.path,
    ["-t1", `-c${CONNECTIONS}`, `-d${seconds}s`, "-s", scriptPath, `http://${address}/`],
    { env: { ...process.env, ...wrk.env }, signal, timeout: (seconds + 20) * 1000 },
  );
  const errors = /Non-2xx or 3xx responses: (\d+)|Socket errors: (.*)/.exec(stdout);
  if (errors !== null) throw new Error(`${address}: not every answer was good: ${errors[0]}`);
  const rate = Number(/Requests\/sec:\s+([0-9.]+)/.exec(stdout)?.[1]);
  if (!Number.isFinite(rate)) throw new Error(`wrk said: ${stdout}`);
  const requests = Number(/(\d+) requests in/.exec(stdout)?.[1]);
  return { rps: rate, cpuUs: ((await cpuUs(pid)) - before) / requests };
}

/**
 * Sluice's nginx with its whole data plane beside the same nginx with a static upstream block, in turns, so that what
 * else the machine does meets both; and beside the same balancer without routing.
 */
export async function throughput(options: ThroughputOptions): Promise<BenchResult> {
  const { signal } = options;
  const alternations = options.alternations ?? 9;
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
  const all = rows(peers);
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
      cpu_us_without_routing: median(over((s) => s.unrouted.cpuUs)),
    },
    goals: { ratio: 0.9 },
    samples: samples.length,
    raw: await writeRaw("throughput", samples),
    machine: thisMachine(),
  };
}
