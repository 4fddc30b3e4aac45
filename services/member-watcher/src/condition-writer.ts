import { type Condition, KubeStatusError } from "@sluice/contracts";
import type { KubeClient, ServiceExport } from "@sluice/kube";
import { Backoff, createGuard, type Kit, NewestByKey, slept } from "@sluice/service-kit";

const FIELD_MANAGER = "sluice-member-watcher";
const WRITE_MS = 5000;
const WORKERS = 4;

/** Writes ServiceExport conditions beside the hot path: a member whose API is slow delays nothing else. */
export interface ConditionWriter {
  /** `object` is the export as last seen; nothing is written when it says so already. */
  want(object: ServiceExport, conditions: readonly Condition[]): void;
  readonly done: Promise<void>;
}

function says(object: ServiceExport, conditions: readonly Condition[]): boolean {
  const there = object.status?.conditions ?? [];
  return conditions.every((want) =>
    there.some(
      (have) =>
        have.type === want.type &&
        have.status === want.status &&
        have.reason === want.reason &&
        have.message === want.message,
    ),
  );
}

export function writeConditions(client: KubeClient, kit: Kit): ConditionWriter {
  const guard = createGuard({
    name: `${client.name} writes`,
    timeoutMs: WRITE_MS,
    isAnswer: (error) => error instanceof KubeStatusError && [404, 409, 422].includes(error.status),
  });
  const queue = new NewestByKey<string, { object: ServiceExport; conditions: readonly Condition[] }>();

  async function write(object: ServiceExport, conditions: readonly Condition[]): Promise<void> {
    const { namespace = "", name } = object.metadata;
    const now = new Date(kit.clock.now()).toISOString().replace(/\.\d+Z$/, "Z");
    const stamped = conditions.map((condition) => {
      const before = object.status?.conditions?.find((c) => c.type === condition.type);
      const unchanged = before?.status === condition.status && before.lastTransitionTime !== undefined;
      return { ...condition, lastTransitionTime: unchanged ? before.lastTransitionTime : now };
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
  }

  const done = queue.run(WORKERS, kit.signal, async (key, { object, conditions }) => {
    const backoff = new Backoff(200, 5000);
    // Bounded: the next change of the export, or the next relist, tries again.
    for (let tries = 0; tries < 8 && !kit.signal.aborted; tries++) {
      try {
        return await write(object, conditions);
      } catch (err) {
        if (kit.signal.aborted) return;
        if (err instanceof KubeStatusError && err.status === 404) return;
        kit.log.debug({ err, cluster: client.name, export: key }, "could not write conditions");
        if (!(await slept(kit.clock, backoff.next() + 50, kit.signal))) return;
      }
    }
  });

  return {
    want(object, conditions) {
      if (says(object, conditions)) return;
      queue.set(`${object.metadata.namespace}/${object.metadata.name}`, { object, conditions });
    },
    done,
  };
}
