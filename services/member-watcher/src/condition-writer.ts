import { type Condition, KubeStatusError } from "@sluice/contracts";
import type { KubeClient, ServiceExport } from "@sluice/kube";
import { Backoff, createGuard, type Kit, NewestByKey, slept } from "@sluice/service-kit";

const FIELD_MANAGER = "sluice-member-watcher";
const WRITE_MS = 5000;
const WORKERS = 4;
/** Tries before an export makes room for others; it comes again after RETRY_MS. */
const TRIES = 5;
const RETRY_MS = 10_000;
/** Somebody else writes the same conditions: we say ours again at most so often. */
const REPEAT_MS = 1000;

/** Writes ServiceExport conditions beside the hot path: a member whose API is slow delays nothing else. */
export interface ConditionWriter {
  /** `object` is the export as last seen; nothing is written when it says so already. */
  want(object: ServiceExport, conditions: readonly Condition[]): void;
  /** The export is gone. */
  forget(key: string): void;
  readonly done: Promise<void>;
}

interface Wanted {
  readonly object: ServiceExport;
  readonly conditions: readonly Condition[];
}

/** What was written last, so that a watch that lags makes no second transition of the first. */
interface Written {
  readonly uid: string | undefined;
  readonly conditions: readonly (Condition & { readonly lastTransitionTime: string })[];
  readonly at: number;
}

function same(a: Omit<Condition, "type">, b: Partial<Condition>): boolean {
  return a.status === b.status && a.reason === b.reason && a.message === b.message;
}

function says(object: ServiceExport, conditions: readonly Condition[]): boolean {
  const there = object.status?.conditions ?? [];
  return conditions.every((want) => there.some((have) => have.type === want.type && same(want, have)));
}

export function writeConditions(client: KubeClient, kit: Kit): ConditionWriter {
  const guard = createGuard({
    name: `${client.name} writes`,
    timeoutMs: WRITE_MS,
    clock: kit.clock,
    isAnswer: (error) => error instanceof KubeStatusError && [404, 409, 422].includes(error.status),
  });
  const wanted = new Map<string, Wanted>();
  const written = new Map<string, Written>();
  const queue = new NewestByKey<string, true>();
  /** Exports that could not be written, or that somebody else writes too. */
  const later = new Set<string>();

  async function write(key: string, { object, conditions }: Wanted): Promise<void> {
    const { namespace = "", name, uid } = object.metadata;
    const at = kit.clock.now();
    const now = new Date(at).toISOString().replace(/\.\d+Z$/, "Z");
    const last = written.get(key);
    const stamped = conditions.map((condition) => {
      const { type, status } = condition;
      const known = [object.status?.conditions, last?.uid === uid ? last?.conditions : undefined]
        .flatMap((list) => list?.find((c) => c.type === type) ?? [])
        .find((c) => c.status === status);
      return { ...condition, lastTransitionTime: known?.lastTransitionTime ?? now };
    });
    const body = {
      apiVersion: object.apiVersion,
      kind: object.kind,
      metadata: { name, namespace },
      status: { conditions: stamped },
    } as ServiceExport;
    await guard.run(
      (signal) =>
        client.apply(body, { fieldManager: FIELD_MANAGER, force: true, subresource: "status" }, signal),
      kit.signal,
    );
    written.set(key, { uid, conditions: stamped, at });
  }

  /** Whether the very same was written a moment ago and does not stand there: somebody else has another opinion. */
  function isContested(key: string, { object, conditions }: Wanted): boolean {
    const last = written.get(key);
    return (
      last !== undefined &&
      last.uid === object.metadata.uid &&
      kit.clock.now() - last.at < REPEAT_MS &&
      last.conditions.length === conditions.length &&
      conditions.every((want, i) => last.conditions[i]?.type === want.type && same(want, last.conditions[i]))
    );
  }

  async function work(key: string): Promise<void> {
    const backoff = new Backoff(200, 5000, kit.random.next);
    for (let tries = 0; tries < TRIES && !kit.signal.aborted; tries++) {
      // Asked anew each time: what is wanted may have changed while the API did not answer.
      const now = wanted.get(key);
      if (now === undefined || says(now.object, now.conditions)) return;
      if (isContested(key, now)) break;
      try {
        return await write(key, now);
      } catch (err) {
        if (kit.signal.aborted) return;
        if (err instanceof KubeStatusError && err.status === 404) return;
        kit.log.debug({ err, export: key }, "could not write conditions");
        if (!(await slept(kit.clock, backoff.next() + 50, kit.signal))) return;
      }
    }
    later.add(key);
  }

  async function retry(): Promise<void> {
    while (await slept(kit.clock, RETRY_MS, kit.signal)) {
      for (const key of later) queue.set(key, true);
      later.clear();
    }
  }

  return {
    want(object, conditions) {
      const key = `${object.metadata.namespace}/${object.metadata.name}`;
      wanted.set(key, { object, conditions });
      queue.set(key, true);
    },
    forget(key) {
      wanted.delete(key);
      written.delete(key);
      later.delete(key);
    },
    done: Promise.all([queue.run(WORKERS, kit.signal, work), retry()]).then(() => {}),
  };
}
