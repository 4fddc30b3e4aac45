import type { TestContext } from "node:test";
import { type MemoryServer, memoryBus } from "@sluice/bus/testing";
import {
  type FleetValue,
  fleetKeys,
  fleetTable,
  type ProxyRecord,
  proxiesTable,
  type RouteRow,
  type Trace,
} from "@sluice/contracts";
import { type FleetPrivateKey, openSealed } from "@sluice/sealing";
import { createKit, type Kit, type KitOptions } from "@sluice/service-kit";
import { networkProbe } from "../checks/probe.ts";
import { LastGoodFile } from "../last-good.ts";
import { UnixNginxClient } from "../nginx-client.ts";
import { nginxObservation } from "../nginx-observation.ts";
import { keptListeners, keptProfiles, lastGoodPathOf, readPlan, secretsPathOf } from "../prepare-nginx.ts";
import { type ProxyAgentOptions, type ProxyAgentPorts, runProxyAgent } from "../proxy-agent.ts";
import { reloadNginx } from "../reload-nginx.ts";
import { TrialFile } from "../trial-file.ts";
import type { TestNginx, TestPod } from "./proxy-world.ts";

export interface TestAgent {
  readonly kit: Kit;
  readonly records: ProxyRecord[];
  stop(): Promise<void>;
}

/** The agent as a process would run it, on a bus in memory; `bus` null: no bus answers. */
export function testAgent(
  nginx: TestNginx,
  bus: MemoryServer | null,
  peers: Record<string, string[]> = { member1: ["127.25.0.0/16"], member2: ["127.26.0.0/16"] },
  more: Pick<KitOptions, "clock" | "injectDelayMs"> & {
    readonly fleetKeys?: readonly FleetPrivateKey[];
    /** What nginx counts is asked for, too. */
    readonly observed?: true;
  } & Pick<ProxyAgentPorts, "lookup"> &
    Pick<ProxyAgentOptions, "authAddresses"> = {},
): TestAgent {
  const controller = new AbortController();
  const kit = createKit({ service: "proxy-agent", signal: controller.signal, ...more });
  const client = new UnixNginxClient(nginx.prepared.socketPath);
  const { dir } = nginx.options;
  const records: ProxyRecord[] = [];
  const connected =
    bus === null ? null : memoryBus({ role: "proxy-agent", signal: kit.signal, server: bus, kit });
  const done = runProxyAgent(
    {
      fleet: (options) =>
        connected?.view(fleetTable, options) ?? silentView(options.initial ?? [], kit.signal),
      proxies: {
        set: (key, record) => {
          records.push(record);
          void connected?.publish(proxiesTable, key, record).catch(() => {});
        },
      },
      nginx: client,
      lastGood: new LastGoodFile(lastGoodPathOf(dir), secretsPathOf(dir)),
      ...(more.lookup === undefined ? {} : { lookup: more.lookup }),
      open: (id, sealed) => openSealed(more.fleetKeys ?? [], "default", id, sealed),
      plan: () => readPlan(dir),
      ...(more.observed === true ? { observe: nginxObservation(client, dir) } : {}),
      kept: () => keptProfiles(dir),
      keptListeners: () => keptListeners(dir),
      trial: new TrialFile(dir),
      reload: (options, profiles, check) =>
        reloadNginx(options, profiles, { nginx: client, clock: kit.clock, signal: kit.signal }, check),
      checks: {
        probe: networkProbe,
        proxies: () => 1,
        tell: (verdicts, expect, signal) => client.tell(verdicts, expect, signal),
      },
    },
    {
      fleet: "default",
      proxy: "proxy1",
      peers: new Map(Object.entries(peers)),
      refused: ["127.25.9.9"],
      authAddresses: more.authAddresses ?? [],
    },
    kit,
  );
  const stop = async () => {
    controller.abort(new Error("stopping"));
    await done;
    client[Symbol.dispose]();
  };
  nginx.users.defer(stop);
  return { kit, records, stop };
}

type FleetView = ReturnType<Parameters<typeof runProxyAgent>[0]["fleet"]>;

/** What a view is while no server answers. */
function silentView(initial: Iterable<readonly [string, FleetValue]>, signal: AbortSignal): FleetView {
  const held = new Map(initial);
  const { promise, resolve } = Promise.withResolvers<void>();
  signal.addEventListener("abort", () => resolve(), { once: true });
  const never = () => promise;
  return {
    get: (key) => held.get(key),
    entries: () => held.entries(),
    size: held.size,
    isSettled: () => false,
    unreadable: new Set(),
    isDoubtful: () => false,
    doubts: 0,
    isScopeSettled: () => false,
    parts: () => [],
    revision: 0,
    connected: false,
    caughtUp: never,
    upToDate: never,
    when: never,
    done: promise,
  };
}

/** The renderer's part: whoever holds the fleet and writes its rows. */
export interface TestFleet {
  set(key: string, value: FleetValue, trace?: Trace): void;
  remove(key: string): void;
  /** An upstream with peers of these clusters, by pods. */
  upstream(id: string, clusters: Record<string, readonly Pick<TestPod, "address" | "port">[]>): void;
  route(host: string, upstream: string | null, profile?: string): void;
  idle(): Promise<void>;
}

export function testFleet(t: TestContext, server: MemoryServer): TestFleet {
  const controller = new AbortController();
  const kit = createKit({ service: "config-renderer", signal: controller.signal });
  const bus = memoryBus({ role: "config-renderer", signal: kit.signal, server, kit });
  const holder = bus.hold(fleetTable, { scope: "default", shard: "" }, { fresh: async () => {} });
  t.after(async () => {
    controller.abort(new Error("stopping"));
    await holder.done;
  });
  const fleet: TestFleet = {
    set: (key, value, trace) => holder.set(key, value, trace),
    remove: (key) => holder.remove(key),
    upstream(id, clusters) {
      holder.set(fleetKeys.upstream("default", id), {
        id,
        namespace: "shop",
        service: id,
        port: "",
        balance: "round_robin",
      });
      for (const [cluster, pods] of Object.entries(clusters)) {
        holder.set(fleetKeys.cluster("default", cluster), { cluster, state: "ok", allowed: [] });
        holder.set(fleetKeys.peers("default", id, cluster), {
          upstream: id,
          cluster,
          peers: pods.map(({ address, port }) => ({ address, port })),
        });
      }
    },
    route(host, upstream, profile = "default") {
      holder.set(fleetKeys.route("default", host), {
        host,
        paths: [
          {
            type: "Prefix",
            path: "/",
            upstream,
            profile,
            source: { kind: "MultiClusterIngress", namespace: "shop", name: "web" },
          },
        ],
      } satisfies RouteRow);
    },
    idle: () => holder.idle(),
  };
  return fleet;
}
