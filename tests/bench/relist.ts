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
/** Two places of a member at which its service may run. */
const peersOf = (member: number) => [`127.${10 + member}.240.1`, `127.${10 + member}.240.2`] as const;
type Peers = ReturnType<typeof peersOf>;

/** Of changes of the crowded cluster and of the other, ms. */
interface Times {
  readonly own: number[];
  readonly other: number[];
}
/** How long changes go on after each fault, ms: longer than a list takes. */
const WATCH_MS = 4000;
const CHANGE_MS = 30_000;

/**
 * How long a live change waits while ten thousand slices of its own cluster are listed anew, or of another that the same
 * process watches, and while as many are exported at once: from the moment at which the API has stored it to the first
 * answer of the new peer. Quiet times alternate with lists, so that a neighbour of this machine meets both alike.
 */
export async function relist(options: RelistOptions): Promise<BenchResult> {
  const { signal, log } = options;
  const slices = options.slices ?? 10_000;
  const inject = (options.inject ?? []).flatMap((delayed) => ["--inject", delayed]);
  await using world = await startedWorld(["--empty", "--processes", "--members", "2", ...inject], signal);
  await using stack = new AsyncDisposableStack();
  const hub = world.cluster("hub");
  const crowded = world.cluster("member1");
  const agent = new Agent({ keepAlive: true, maxSockets: 16 });
  stack.defer(() => agent.destroy());
  await prepareCluster(hub, false, signal);
  const changing = async (number: number, name: string) => {
    const member = world.cluster(`member${number}`);
    const service = { name, host: `${name}.example.test`, port: await freePort() };
    const peers = peersOf(number);
    for (const address of peers) stack.use(await servePeer(address, service.port));
    await prepareCluster(member, true, signal);
    await installService(hub, member, service, peers[0], signal);
    const { http } = world.addresses.proxy;
    return stack.use(new Changing(member.server, service, peers, http, agent, signal));
  };
  // By its name the last of a list: what only the list can tell comes with the last page.
  const own = await changing(1, "web");
  const other = await changing(2, "cart");
  const crowd = await createCrowd(crowded, slices, agent, signal);
  log(`${slices} slices of ${crowd.length} services are there`);
  await Promise.all([own.first(), other.first()]);

  const during = async (what: () => Promise<void>): Promise<Times> => {
    const going = what();
    const [ofOwn, ofOther] = await Promise.all([own.during(going), other.during(going)]);
    return { own: ofOwn, other: ofOther };
  };
  const exported = await during(async () => {
    await exportAll(crowded, crowd, signal);
    await delay(WATCH_MS, undefined, { signal });
  });
  const quiet: Times = { own: [], other: [] };
  const relisted: Times = { own: [], other: [] };
  for (let i = 0; i < (options.relists ?? 5); i++) {
    const calm = await during(() => delay(WATCH_MS, undefined, { signal }));
    const listed = await during(() => forget(world, signal));
    for (const whose of ["own", "other"] as const) {
      quiet[whose].push(...calm[whose]);
      relisted[whose].push(...listed[whose]);
    }
  }
  const most = (values: readonly number[]) => values.reduce((a, b) => Math.max(a, b), 0);
  const added = (whose: keyof Times) => Math.max(0, most(relisted[whose]) - most(quiet[whose]));
  log(
    `quiet ${percentile(quiet.own, 0.5).toFixed(1)} ms, at most ${most(quiet.own).toFixed(0)}; exported at once ` +
      `${most(exported.own).toFixed(0)}; listed anew ${most(relisted.own).toFixed(0)}, another cluster's ` +
      `${most(relisted.other).toFixed(0)}`,
  );
  return {
    bench: "relist",
    figures: {
      quiet_p50_ms: percentile(quiet.own, 0.5),
      quiet_p99_ms: percentile(quiet.own, 0.99),
      quiet_max_ms: most(quiet.own),
      relist_p50_ms: percentile(relisted.own, 0.5),
      relist_p99_ms: percentile(relisted.own, 0.99),
      relist_max_ms: most(relisted.own),
      other_quiet_max_ms: most(quiet.other),
      other_relist_p99_ms: percentile(relisted.other, 0.99),
      other_relist_max_ms: most(relisted.other),
      export_p99_ms: percentile(exported.own, 0.99),
      export_max_ms: most(exported.own),
      other_export_max_ms: most(exported.other),
      /** What the relist added to the slowest change of its own cluster, and of the other. */
      relist_added_ms: added("own"),
      other_added_ms: added("other"),
    },
    goals: { relist_added_ms: 100, other_added_ms: 100 },
    samples: relisted.own.length + relisted.other.length,
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
  readonly #peers: Peers;
  readonly #agent: Agent;
  readonly #asker: Asker;
  readonly #signal: AbortSignal;
  #at = 0;

  constructor(
    server: string,
    service: ImportedService,
    peers: Peers,
    proxy: string,
    agent: Agent,
    signal: AbortSignal,
  ) {
    this.#server = server;
    this.#service = service;
    this.#peers = peers;
    this.#agent = agent;
    this.#asker = new Asker(proxy);
    this.#signal = signal;
  }

  async first(): Promise<void> {
    await this.#answers(this.#peers[0]);
  }

  /** How long each change took that was made while something went on, ms. */
  async during(what: Promise<void>): Promise<number[]> {
    let over = false;
    const going = what.finally(() => {
      over = true;
    });
    const times: number[] = [];
    while (!over) {
      this.#at = 1 - this.#at;
      const peer = this.#peers[this.#at] ?? this.#peers[0];
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
