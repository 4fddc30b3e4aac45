import { type FleetValue, fleetKeys } from "@sluice/contracts";
import { FleetRows } from "@sluice/proxy-agent/testing";
import { Asker } from "./asker.ts";
import { type BenchResult, median, thisMachine, writeRaw } from "./bench-result.ts";
import { manyCertificates } from "./many-certificates.ts";
import { startNginxStage } from "./nginx-stage.ts";
import { cpuMs } from "./process-figures.ts";

export interface TableOptions {
  readonly signal: AbortSignal;
  readonly hosts: number;
  readonly upstreams: number;
  readonly peers: number;
  readonly rounds: number;
  /** Hosts with a certificate each, of another nginx that starts with all of them; 0: none. */
  readonly certificates: number;
  log(line: string): void;
}

const FLEET = "default";
const CLUSTERS = ["member1", "member2"];

/** What a fleet's table holds of so many hosts; each upstream has peers in two clusters. */
function* fleetOf({ hosts, upstreams, peers }: TableOptions): Generator<[key: string, value: FleetValue]> {
  for (const cluster of CLUSTERS) {
    yield [fleetKeys.cluster(FLEET, cluster), { cluster, state: "ok", allowed: ["10.0.0.0/8"] }];
  }
  const each = Math.max(1, Math.round(peers / upstreams / CLUSTERS.length));
  for (let n = 0; n < upstreams; n++) {
    const id = `shop-s${n}`;
    yield [
      fleetKeys.upstream(FLEET, id),
      { id, namespace: "shop", service: `s${n}`, port: "", balance: "round_robin" },
    ];
    for (const [c, cluster] of CLUSTERS.entries()) {
      const at = (n * CLUSTERS.length + c) * each;
      const list = Array.from({ length: each }, (_, i) => ({ address: addressAt(at + i), port: 8080 }));
      yield [fleetKeys.peers(FLEET, id, cluster), { upstream: id, cluster, peers: list }];
    }
  }
  const paths = Math.ceil(upstreams / hosts);
  for (let h = 0; h < hosts; h++) {
    const host = `h${h}.example.test`;
    yield [
      fleetKeys.route(FLEET, host),
      {
        host,
        paths: Array.from({ length: paths }, (_, p) => ({
          type: "Prefix" as const,
          path: `/p${p}`,
          upstream: `shop-s${(h * paths + p) % upstreams}`,
          profile: "default",
          source: { kind: "MultiClusterIngress", namespace: "shop", name: `m${h}` },
        })),
      },
    ];
  }
}

function addressAt(n: number): string {
  return `10.${(n >> 16) & 255}.${(n >> 8) & 255}.${n & 255}`;
}

interface Applied {
  readonly ms: number;
  /** CPU of nginx's workers, and of whoever plans and sends the rows, ms; steps of 10. */
  readonly nginxCpuMs: number;
  readonly ownCpuMs: number;
  /** Of each request to nginx how long a worker was busy with it, ms. */
  readonly blocked: readonly number[];
  readonly rows: number;
}

/** A whole table into an nginx that has nothing, as an agent does it: the plan and every request are its own. */
export async function table(options: TableOptions): Promise<BenchResult> {
  const { signal, log } = options;
  const runs: Applied[] = [];
  for (let round = 0; round < options.rounds; round++) {
    await using nginx = await startNginxStage(signal);
    using api = new Asker(nginx.socketPath);
    const rows = new FleetRows({ peers: new Map(), refused: [] });
    for (const [key, value] of fleetOf(options)) rows.set(key, value);
    const blocked: number[] = [];
    let count = 0;
    const workers = await nginx.workers();
    const nginxCpu = async () => {
      let ms = 0;
      for (const pid of workers) ms += await cpuMs(pid);
      return ms;
    };
    const cpuBefore = { nginx: await nginxCpu(), own: await cpuMs(process.pid) };
    const began = performance.now();
    for (let batch = rows.next(); batch.length > 0; batch = rows.next()) {
      const answer = await api.post("/apply", JSON.stringify({ rows: batch.map(({ row }) => row) }));
      const { took, refused } = JSON.parse(answer) as { took: number; refused?: unknown };
      if (refused !== undefined) throw new Error(`rows were refused: ${answer}`);
      blocked.push(took * 1000);
      for (const planned of batch) rows.taken(planned);
      count += batch.length;
    }
    const ms = performance.now() - began;
    const { peers } = rows.counts;
    if (peers < options.peers * 0.9) throw new Error(`nginx has ${peers} of ${options.peers} peers`);
    log(
      `${count} rows in ${ms.toFixed(0)} ms, a worker was busy for ${blocked.reduce((a, b) => a + b, 0).toFixed(0)} ms, at most ${Math.max(...blocked)} ms at a time`,
    );
    const nginxCpuMs = (await nginxCpu()) - cpuBefore.nginx;
    const ownCpuMs = (await cpuMs(process.pid)) - cpuBefore.own;
    runs.push({ ms, nginxCpuMs, ownCpuMs, blocked, rows: count });
  }
  const many =
    options.certificates === 0
      ? null
      : await manyCertificates(options.certificates, options.certificates, signal);
  const each = (of: (run: Applied) => number) => runs.map(of);
  return {
    bench: "table",
    figures: {
      apply_ms: median(each(({ ms }) => ms)),
      apply_ms_min: Math.min(...each(({ ms }) => ms)),
      apply_ms_max: Math.max(...each(({ ms }) => ms)),
      worker_blocked_ms: median(each(({ blocked }) => Math.max(...blocked))),
      worker_blocked_ms_max: Math.max(...each(({ blocked }) => Math.max(...blocked))),
      cpu_ms_nginx: median(each(({ nginxCpuMs }) => nginxCpuMs)),
      cpu_ms_agent: median(each(({ ownCpuMs }) => ownCpuMs)),
      rows: runs[0]?.rows ?? 0,
      requests: runs[0]?.blocked.length ?? 0,
      ...(many === null
        ? {}
        : {
            certificates: options.certificates,
            start_s: many.startSeconds,
            listens_s: many.listensSeconds,
            rss_mb_worker: many.workerMb,
            handshakes: many.handshakes,
            wrong_certificates: many.wrong,
          }),
    },
    goals: { apply_ms: 500, worker_blocked_ms: 10, start_s: 5, rss_mb_worker: 150, wrong_certificates: 0 },
    samples: runs.length,
    raw: await writeRaw("table", runs),
    machine: thisMachine(),
  };
}
