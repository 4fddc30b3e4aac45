import { Agent, request } from "node:http";
import { setTimeout as delay } from "node:timers/promises";
import type { KubeClient, KubeObject } from "@sluice/kube";
import { freePort } from "@sluice/native-tools";
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

export interface RelistOptions {
  readonly signal: AbortSignal;
  /** EndpointSlices of the member beside the one that changes; default 10,000. */
  readonly slices?: number;
  /** How often the member's API forgets its history, so that everything is listed anew; default 5. */
  readonly relists?: number;
  readonly inject?: readonly string[];
  log(line: string): void;
}

const SLICES_PER_SERVICE = 100;
const PEERS = ["127.11.240.1", "127.11.240.2"] as const;
/** How long changes go on after each fault, ms: longer than a list takes. */
const WATCH_MS = 4000;
const CHANGE_MS = 30_000;

/**
 * How long a live change waits while the same cluster's ten thousand slices are listed anew, and while as many are
 * exported at once: from the moment at which the API has stored it to the first answer of the new peer.
 */
export async function relist(options: RelistOptions): Promise<BenchResult> {
  const { signal, log } = options;
  const slices = options.slices ?? 10_000;
  const inject = (options.inject ?? []).flatMap((delayed) => ["--inject", delayed]);
  await using world = await startedWorld(["--empty", "--processes", "--members", "1", ...inject], signal);
  await using stack = new AsyncDisposableStack();
  const [hub, member] = [world.cluster("hub"), world.cluster("member1")];
  const service = { name: "cart", host: "relist.example.test", port: await freePort() };
  for (const address of PEERS) stack.use(await servePeer(address, service.port));
  await prepareCluster(hub, false, signal);
  await prepareCluster(member, true, signal);
  await installService(hub, member, service, PEERS[0], signal);
  const agent = new Agent({ keepAlive: true, maxSockets: 16 });
  stack.defer(() => agent.destroy());
  const crowd = await createCrowd(member, slices, agent, signal);
  log(`${slices} slices of ${crowd.length} services are there`);
  const changing = new Changing(member.server, service, world.addresses.proxy.http, agent, signal);
  stack.use(changing);
  await changing.first();

  const quiet = await changing.during(() => delay(WATCH_MS, undefined, { signal }));
  const exported = await changing.during(async () => {
    await exportAll(member, crowd, signal);
    await delay(WATCH_MS, undefined, { signal });
  });
  const relisted: number[] = [];
  for (let i = 0; i < (options.relists ?? 5); i++) {
    relisted.push(...(await changing.during(() => forget(world, signal))));
  }
  const most = (values: readonly number[]) => values.reduce((a, b) => Math.max(a, b), 0);
  log(
    `quiet ${percentile(quiet, 0.5).toFixed(1)} ms, at most ${most(quiet).toFixed(0)}; exported at once ` +
      `${most(exported).toFixed(0)}; listed anew ${most(relisted).toFixed(0)}`,
  );
  return {
    bench: "relist",
    figures: {
      quiet_p50_ms: percentile(quiet, 0.5),
      quiet_max_ms: most(quiet),
      relist_p50_ms: percentile(relisted, 0.5),
      relist_p99_ms: percentile(relisted, 0.99),
      relist_max_ms: most(relisted),
      export_p99_ms: percentile(exported, 0.99),
      export_max_ms: most(exported),
      /** What the relist added to the slowest change. */
      relist_added_ms: Math.max(0, most(relisted) - most(quiet)),
    },
    goals: { relist_added_ms: 100 },
    samples: relisted.length,
    raw: await writeRaw("relist", { quiet, exported, relisted }),
    machine: thisMachine(),
  };
}

async function forget(world: StartedWorld, signal: AbortSignal): Promise<void> {
  await world.fault("member1", { api: "gone" });
  await delay(WATCH_MS, undefined, { signal });
}

/** Services with a hundred slices each; none is exported yet. */
async function createCrowd(
  member: KubeClient,
  slices: number,
  agent: Agent,
  signal: AbortSignal,
): Promise<readonly string[]> {
  const names = Array.from({ length: Math.ceil(slices / SLICES_PER_SERVICE) }, (_, i) => `crowd-${i}`);
  for (const name of names) {
    const service = {
      apiVersion: "v1",
      kind: "Service",
      metadata: { name, namespace: NAMESPACE },
      spec: { ports: [{ port: 80, protocol: "TCP" }] },
    };
    await member.apply(service as KubeObject, { fieldManager: "bench", force: true }, signal);
  }
  let next = 0;
  const work = async () => {
    for (let n = next++; n < slices; n = next++) {
      const name = names[n % names.length] ?? "";
      await post(member.server, agent, signal, {
        apiVersion: "discovery.k8s.io/v1",
        kind: "EndpointSlice",
        metadata: {
          name: `${name}-${n}`,
          namespace: NAMESPACE,
          labels: { "kubernetes.io/service-name": name },
        },
        addressType: "IPv4",
        ports: [{ name: "", port: 8080, protocol: "TCP" }],
        endpoints: [
          {
            addresses: [`127.11.${Math.floor(n / 250)}.${(n % 250) + 1}`],
            conditions: { ready: true, serving: true, terminating: false },
          },
        ],
      });
    }
  };
  await Promise.all(Array.from({ length: 16 }, work));
  return names;
}

function post(server: string, agent: Agent, signal: AbortSignal, slice: object): Promise<void> {
  const body = JSON.stringify(slice);
  const path = `/apis/discovery.k8s.io/v1/namespaces/${NAMESPACE}/endpointslices`;
  const headers = { "content-type": "application/json", "content-length": Buffer.byteLength(body) };
  return new Promise((resolve, reject) => {
    const sent = request(`${server}${path}`, { method: "POST", headers, agent, signal }, (response) => {
      response.resume();
      if (response.statusCode === 201) resolve();
      else reject(new Error(`the API answered ${response.statusCode} to a slice`));
    });
    sent.on("error", reject);
    sent.end(body);
  });
}

async function exportAll(member: KubeClient, names: readonly string[], signal: AbortSignal): Promise<void> {
  await Promise.all(
    names.map((name) =>
      member.apply(
        {
          apiVersion: "multicluster.x-k8s.io/v1alpha1",
          kind: "ServiceExport",
          metadata: { name, namespace: NAMESPACE },
        },
        { fieldManager: "bench", force: true },
        signal,
      ),
    ),
  );
}

/** One service whose only endpoint moves again and again. */
class Changing implements Disposable {
  readonly #server: string;
  readonly #service: ImportedService;
  readonly #agent: Agent;
  readonly #asker: Asker;
  readonly #signal: AbortSignal;
  #at = 0;

  constructor(server: string, service: ImportedService, proxy: string, agent: Agent, signal: AbortSignal) {
    this.#server = server;
    this.#service = service;
    this.#agent = agent;
    this.#asker = new Asker(proxy);
    this.#signal = signal;
  }

  async first(): Promise<void> {
    await this.#answers(PEERS[0]);
  }

  /** How long each change took that was made while something went on, ms. */
  async during(what: () => Promise<void>): Promise<number[]> {
    let over = false;
    const going = what().finally(() => {
      over = true;
    });
    const times: number[] = [];
    while (!over) {
      this.#at = 1 - this.#at;
      const peer = PEERS[this.#at] ?? PEERS[0];
      const storedAt = await moveEndpoint(this.#server, this.#service, peer, this.#agent, this.#signal);
      times.push((await this.#answers(peer)) - storedAt);
    }
    await going;
    return times;
  }

  async #answers(peer: string): Promise<number> {
    const deadline = performance.now() + CHANGE_MS;
    while ((await this.#asker.ask(this.#service.host)) !== peer) {
      if (performance.now() > deadline) throw new Error(`${peer} did not answer within ${CHANGE_MS} ms`);
      await delay(1, undefined, { signal: this.#signal });
    }
    return performance.timeOrigin + performance.now();
  }

  [Symbol.dispose](): void {
    this.#asker[Symbol.dispose]();
  }
}
