import type { Bus } from "@sluice/bus";
import { type ClusterRecord, clustersTable, plainKeys } from "@sluice/contracts";
import { type KubeClient, type Node, reflect, resourcePath, resources } from "@sluice/kube";
import { type Kit, rejectedBy, slept, TimeLimit } from "@sluice/service-kit";
import { nodeCidrs } from "./exported-service.ts";

/** How often a member says that it lives, and how long its API may take to answer. */
const HEARTBEAT_MS = 5000;
const PROBE_MS = 2000;
/** Answers of an API that serves no Nodes, or not to us. A 401 says nothing of Nodes: credentials come again. */
const NOT_TOLD: readonly number[] = [403, 404];

export interface HeartbeatPorts {
  readonly bus: Bus;
  readonly client: KubeClient;
  /** What the watcher waits for, for people. */
  waiting(): string[];
  exports(): number;
  /** Whether this process is the one that speaks for the member: of several that watch it, one does. */
  speaks(): boolean;
  /** A list that is held, as the record tells it. */
  held(): ClusterRecord["held"];
}

export interface Heartbeat {
  /** Something that the record says may have changed. */
  beat(): void;
  /** Resolves once the record lies on the bus as it was after this was called, if this process speaks for the member. */
  told(signal: AbortSignal): Promise<void>;
  readonly done: Promise<void>;
}

/** Keeps a member's record in `clusters`: that its watcher lives, whether its API answers, what its Nodes say. */
export function startHeartbeat(
  { bus, client, waiting, exports, speaks, held }: HeartbeatPorts,
  kit: Kit,
): Heartbeat {
  const cluster = client.name;
  const key = plainKeys.cluster(cluster);
  const clusters = bus.writer(clustersTable, speaks, kit.signal);
  /** What was said of this member before this process began. */
  const before = bus.view(clustersTable, { filter: key, signal: kit.signal });
  const cidrsOf = new Map<string, readonly string[]>();
  let cidrs: string[] | undefined;
  /** The API has answered that it does not tell of Nodes. */
  let untold = false;
  let api: ClusterRecord["api"] | null = null;
  /** The API has been asked once. */
  const asked = Promise.withResolvers<void>();
  let version: string | undefined;
  let due = false;

  const nodes = reflect<Node>({
    client,
    type: resources.node,
    kit,
    onChange: (change) => {
      // Kubelets write their Node's status all the time; CIDRs hardly ever change.
      const old = cidrsOf.get(change.key);
      if (change.kind === "delete") cidrsOf.delete(change.key);
      else cidrsOf.set(change.key, nodeCidrs(change.object));
      if (cidrs !== undefined && cidrsOf.get(change.key)?.join() !== old?.join()) gather();
    },
    onListed: gather,
    onState: beat,
  });

  function gather(): void {
    const now = [...new Set([...cidrsOf.values()].flat())].sort();
    if (cidrs?.join() === now.join()) return;
    cidrs = now;
    beat();
  }

  /** Until Nodes are listed, what a predecessor knew of them stands: saying "none" would take every peer away. */
  function knownCidrs(): readonly string[] | undefined {
    return cidrs ?? before.get(key)?.nodeCidrs ?? (untold ? [] : undefined);
  }

  function beat(): void {
    if (due) return;
    due = true;
    // Many things change at once, and the first while the reflectors are still being made.
    queueMicrotask(() => {
      due = false;
      say();
    });
  }

  function say(): void {
    // Nothing is said of an API that was not asked yet: its predecessor's last word is truer.
    if (api === null || kit.signal.aborted || !speaks()) return;
    const known = knownCidrs();
    const list = held();
    const failing =
      nodes.state.kind === "failing" ? [`Node: ${nodes.state.error ?? "cannot be listed"}`] : [];
    clusters.set(key, {
      cluster,
      heartbeatAt: kit.clock.now(),
      api,
      ...(version === undefined ? {} : { kubernetesVersion: version }),
      labels: {},
      ...(known === undefined ? {} : { nodeCidrs: [...known] }),
      waiting: [...waiting(), ...failing],
      exports: exports(),
      watcher: bus.self,
      ...(list === undefined ? {} : { held: list }),
    });
  }

  async function probe(): Promise<void> {
    using limit = new TimeLimit(kit.clock, PROBE_MS, kit.signal);
    const { signal } = limit;
    let error: string | undefined;
    try {
      version = await client.version(signal);
      if (cidrs === undefined) {
        const { status } = await client.request(
          { method: "GET", path: `${resourcePath(resources.node)}?limit=1` },
          signal,
        );
        untold = NOT_TOLD.includes(status);
      }
    } catch (cause) {
      if (limit.expired) error = `no answer within ${PROBE_MS / 1000} s`;
      else error = cause instanceof Error ? cause.message : String(cause);
    }
    if (kit.signal.aborted) return;
    const reachable = error === undefined;
    if (api?.reachable === reachable) return;
    if (reachable) kit.log.info("the API answers");
    else kit.log.warn({ error }, "the API does not answer");
    api = { reachable, since: kit.clock.now(), ...(error === undefined ? {} : { error }) };
  }

  async function told(signal: AbortSignal): Promise<void> {
    const over = rejectedBy(signal);
    await Promise.race([asked.promise, over]);
    say();
    await Promise.race([clusters.idle(), over]);
  }

  async function live(): Promise<void> {
    // A member that does not answer is told by its record; this process is ready once it has asked.
    kit.health.set(cluster, "its API was not asked yet");
    try {
      await before.caughtUp(kit.signal);
    } catch (error) {
      if (kit.signal.aborted) return;
      throw error;
    }
    do {
      await probe();
      asked.resolve();
      kit.health.set(cluster, null);
      say();
    } while (await slept(kit.clock, HEARTBEAT_MS, kit.signal));
  }

  return { beat, told, done: Promise.all([live(), clusters.done, before.done, nodes.done]).then(() => {}) };
}
