import type { Status } from "@sluice/contracts";
import { resources } from "@sluice/kube";
import type { FleetWatch } from "./fleet-watch.ts";
import type { Load } from "./load.ts";
import { NAMESPACE, type Pod } from "./members.ts";
import type { World } from "./world.ts";

const POLL_MS = 50;

/** What is looked at to see whether all has converged. */
export interface Seen {
  readonly world: World;
  readonly watch: FleetWatch;
  readonly load: Load;
}

/** What is not yet as it shall be; empty: fleet, hub, gateway and the answers of both proxies agree with the members. */
export async function differences(seen: Seen): Promise<string[]> {
  const { world, watch } = seen;
  const fleet = peerDifferences(world, "the fleet's rows", watch.peers());
  const [derived, status] = await Promise.all([derivedDifferences(world), statusDifferences(world)]);
  const found = [...fleet, ...derived, ...status];
  return found.length > 0 ? found : await answerDifferences(seen);
}

const list = (addresses: Iterable<string>) => [...addresses].sort().join(" ") || "none";

function addressesOf(pods: Iterable<Pod>): Set<string> {
  return new Set([...pods].map(({ address }) => address));
}

function differ(what: string, wanted: ReadonlySet<string>, has: ReadonlySet<string>): string[] {
  if (wanted.symmetricDifference(has).size === 0) return [];
  return [`${what}: has ${list(has)}, not ${list(wanted)}`];
}

function peerDifferences(
  world: World,
  where: string,
  found: ReadonlyMap<string, ReadonlySet<string>>,
): string[] {
  const { services, clusters } = world.members;
  return services.flatMap((service) => {
    const expected = world.members.expected(service);
    return clusters.flatMap((cluster) =>
      differ(
        `${where}, ${service} of ${cluster}`,
        addressesOf(expected.get(cluster) ?? []),
        found.get(`${service}/${cluster}`) ?? new Set(),
      ),
    );
  });
}

/** What the copies on disk, from which an nginx that was killed starts, have otherwise than it shall be. */
export async function copyDifferences(world: World): Promise<string[]> {
  const copies = world.proxies.map(async (proxy) => {
    const rows = (await proxy.copied()).map(
      ({ service, cluster, addresses }) => [`${service}/${cluster}`, addresses] as const,
    );
    return peerDifferences(world, `the copy of ${proxy.name}`, new Map(rows));
  });
  return (await Promise.all(copies)).flat();
}

async function derivedDifferences(world: World): Promise<string[]> {
  const { items } = await world.hub.list(resources.endpointSlice, { namespace: NAMESPACE }, world.signal);
  const found = new Map<string, Set<string>>();
  for (const slice of items) {
    const service = slice.metadata.labels?.["kubernetes.io/service-name"] ?? "";
    const addresses = found.get(service) ?? new Set();
    found.set(service, addresses);
    for (const endpoint of slice.endpoints ?? []) {
      if (endpoint.conditions?.ready === false) continue;
      for (const address of endpoint.addresses) addresses.add(address);
    }
  }
  return world.members.services.flatMap((service) => {
    const expected = [...world.members.expected(service).values()].flatMap((pods) => [...pods]);
    const name = `derived-${service}`;
    return differ(`${name} in the hub`, addressesOf(expected), found.get(name) ?? new Set());
  });
}

async function statusDifferences(world: World): Promise<string[]> {
  let status: Status;
  try {
    const answer = await fetch(`${world.gateway}/api/v1/status`, { signal: AbortSignal.timeout(2000) });
    if (!answer.ok) return [`the gateway answers ${answer.status}`];
    status = (await answer.json()) as Status;
  } catch (error) {
    return [`the gateway does not answer: ${(error as Error).message}`];
  }
  const errors = status.findings
    .filter(({ severity }) => severity === "error")
    .map(({ about, message }) => `status says of ${about}: ${message}`);
  const proxies = status.proxies
    .filter(({ state, source }) => state !== "ok" || source !== "bus")
    .map(({ proxy, state, source, lag }) => `status has ${proxy} ${state}, rows of ${source}, ${lag} behind`);
  const clocks = [...wrongClocks(world)].flatMap(([service, wrong]) => {
    const told = status.findings.filter(
      ({ about, message }) =>
        about.startsWith(`process ${service}.`) && /^its clock is 3[56]\d\d s/.test(message),
    );
    return told.length >= wrong
      ? []
      : [`status tells ${told.length} clocks of ${service} as wrong, not ${wrong}`];
  });
  const missing = world.proxies.length - status.proxies.length;
  return [
    ...errors,
    ...proxies,
    ...clocks,
    ...(missing > 0 ? [`status knows ${status.proxies.length} proxies`] : []),
  ];
}

/** How many processes of each service have a wrong clock. Status may tell of one more: whoever has just ended is heard of. */
function wrongClocks(world: World): Map<string, number> {
  const wrong = new Map<string, number>();
  for (const { service, clockMs } of world.services.values()) {
    if (clockMs !== 0) wrong.set(service, (wrong.get(service) ?? 0) + 1);
  }
  return wrong;
}

export interface Convergence {
  /** Milliseconds from the last fault; null: not within the limit. */
  readonly ms: number | null;
  /** What was different when it was last looked. */
  readonly left: readonly string[];
}

/** Looks until nothing differs. */
export async function converge(
  look: () => Promise<string[]>,
  sinceMs: number,
  limitMs: number,
  signal: AbortSignal,
): Promise<Convergence> {
  for (;;) {
    const left = await look();
    const ms = performance.now() - sinceMs;
    if (left.length === 0 && ms <= limitMs) return { ms, left };
    if (ms > limitMs) return { ms: null, left };
    signal.throwIfAborted();
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}

/**
 * The verdict: why it did not converge in time, a line each; empty only where it did. What was looked at last may have been
 * all right, too late.
 */
export function inTime({ ms, left }: Convergence, limitMs: number): string[] {
  if (ms !== null) return [];
  const differing = left.length === 0 ? ["all was as it shall be only after that"] : left;
  return differing.map((each) => `not converged within ${limitMs / 1000} s: ${each}`);
}

/** Requests for each service through each proxy, until every pod has answered; nobody else may. */
export async function answerDifferences({ world, load }: Seen): Promise<string[]> {
  const wrong: string[] = [];
  for (const proxy of world.proxies) {
    for (const service of world.members.services) {
      const pods = [...world.members.expected(service).values()].flatMap((all) => [...all]);
      const open = new Set(pods.map(({ name }) => name));
      const known = new Set(open);
      // Each of two workers goes around by itself.
      for (let asked = 0; asked < pods.length * 8 && open.size > 0; asked++) {
        const { status, body, error } = await load.ask(proxy, service);
        const name = body.trim();
        if (status !== 200) wrong.push(`${proxy.name}, ${service}: ${error ?? `${status} ${name}`}`);
        else if (!known.has(name))
          wrong.push(`${proxy.name}, ${service}: answered by ${name}, which shall not`);
        open.delete(name);
      }
      if (open.size > 0) wrong.push(`${proxy.name}, ${service}: never answered by ${list(open)}`);
    }
  }
  return wrong;
}
