import { type KubeClient, type KubeObject, recordEvent } from "@sluice/kube";
import { createGuard, type Kit, NewestByKey } from "@sluice/service-kit";
import { FIELD_MANAGER } from "./template.ts";

interface Problem {
  readonly object: KubeObject;
  readonly reason: string;
  readonly message: string;
}

/** The same is said again at the earliest after so long. */
const REPEAT_MS = 600_000;
/** Problems whose time is remembered; older ones may be said again early. */
const REMEMBERED = 10_000;

/** Says in the hub, by Events, what is wrong with an object. Saying it costs the hub one write, not one a retry. */
export class ProblemReporter {
  readonly #hub: KubeClient;
  readonly #kit: Kit;
  readonly #queue = new NewestByKey<string, Problem>();
  readonly #saidAt = new Map<string, number>();

  constructor(hub: KubeClient, kit: Kit) {
    this.#hub = hub;
    this.#kit = kit;
  }

  report(object: KubeObject, reason: string, message: string): void {
    const key = JSON.stringify([object.metadata.uid, reason, message]);
    const now = this.#kit.clock.monotonic();
    if (now - (this.#saidAt.get(key) ?? Number.NEGATIVE_INFINITY) < REPEAT_MS) return;
    this.#saidAt.delete(key);
    this.#saidAt.set(key, now);
    for (const oldest of this.#saidAt.keys()) {
      if (this.#saidAt.size <= REMEMBERED) break;
      this.#saidAt.delete(oldest);
    }
    const { namespace, name } = object.metadata;
    this.#kit.log.warn({ kind: object.kind, namespace, name, reason }, message);
    this.#queue.set(key, { object, reason, message });
  }

  /** Until kit.signal aborts. */
  async run(): Promise<void> {
    const { signal, log } = this.#kit;
    const guard = createGuard({ name: "hub events", timeoutMs: 10_000 });
    await this.#queue.run(2, signal, async (key, { object, reason, message }) => {
      const note = { regarding: object, type: "Warning", reason, message, component: FIELD_MANAGER } as const;
      try {
        await guard.run((bound) => recordEvent(this.#hub, note, bound), signal);
      } catch (err) {
        if (signal.aborted) return;
        // Whoever finds the problem again says it again.
        this.#saidAt.delete(key);
        log.debug({ err, reason }, "event not written");
      }
    });
  }
}
