import type { Clock, Kit, Random } from "@sluice/service-kit";
import type { KubeClient } from "./client.ts";
import { ListWatch } from "./list-watch.ts";
import type { KubeLogger } from "./logger.ts";
import type { KubeObject } from "./objects.ts";
import type { ResourceType } from "./resources.ts";

export type Change<T> =
  | {
      readonly kind: "upsert";
      /** `namespace/name`, or `name` for a cluster-scoped object. */
      readonly key: string;
      readonly object: T;
      /** What was there before; another uid means that it was deleted and made again unseen. */
      readonly old: T | undefined;
      /** Milliseconds since 1970 at which the bytes came in. */
      readonly seenAt: number;
      /** A list told of it, not a watch event: it may have happened long before. */
      readonly fromList: boolean;
    }
  | {
      readonly kind: "delete";
      readonly key: string;
      /** The last state known; of a watch event, the state at its deletion. */
      readonly old: T;
      readonly seenAt: number;
      readonly fromList: boolean;
    };

export interface ReflectorState {
  /** `waiting-for-resource`: the API serves no such kind (yet). What was known before is kept. */
  readonly kind: "waiting-for-resource" | "listing" | "watching" | "failing";
  readonly error?: string;
  /** Milliseconds since 1970. */
  readonly since: number;
}

/** What of a service's kit a reflector uses; any Kit will do. */
export interface ReflectorKit {
  readonly log: KubeLogger;
  readonly clock: Clock;
  /** Default: the system's. */
  readonly random?: Pick<Random, "next">;
  readonly signal: AbortSignal;
  readonly metrics?: Pick<Kit["metrics"], "errors">;
}

export interface ReflectOptions<T extends KubeObject> {
  readonly client: KubeClient;
  readonly type: ResourceType<T>;
  readonly namespace?: string;
  readonly labelSelector?: string;
  readonly fieldSelector?: string;
  readonly kit: ReflectorKit;
  /** Called in order, one at a time, `objects` being changed already. Must not throw: that would end the reflector. */
  onChange(change: Change<T>): void;
  /** After each complete list has been applied. */
  onListed?(): void;
  onState?(state: ReflectorState): void;
  readonly timing?: Partial<ReflectorTiming>;
}

export interface Reflector<T extends KubeObject> {
  readonly objects: ReadonlyMap<string, T>;
  readonly state: ReflectorState;
  /** A list has been told of in part: of what it has not told yet nobody knows whether it lacks it. */
  readonly partial: boolean;
  /** Resolves after the first complete list. Rejects when the signal or the kit's aborts. */
  listed(signal: AbortSignal): Promise<void>;
  /** Resolves when a list that started after this call has been applied whole. */
  relist(signal: AbortSignal): Promise<void>;
  /**
   * The newest resourceVersion whose change has been told of, as a number (KEP-5504: resourceVersions of one kind may be
   * compared as such); -1 before the first list. undefined: this API's versions are no numbers.
   */
  readonly actedOn: number | undefined;
  /**
   * Resolves when everything up to this resourceVersion has been told of. The watch brings that at once where there is
   * anything to bring; where it does not, e.g. because the API was restored from an older copy, a new list does.
   */
  reach(resourceVersion: number, signal: AbortSignal): Promise<void>;
  /** Resolves once kit.signal has aborted and nothing runs any more. */
  readonly done: Promise<void>;
}

/** Milliseconds, but for `watchSeconds`. */
export interface ReflectorTiming {
  /**
   * Full jitter up to the first, doubling to the second. Base and reset are client-go's (tools/cache/reflector.go), the
   * cap is not: with its 30 s an API that was down for five is seen again up to half a minute after it is back, and
   * failures of two minutes ago still count. Peers shall be right ten seconds after a fault is over.
   */
  readonly failure: readonly [baseMs: number, capMs: number];
  /** Before the first list succeeded: a server that is just starting is met soon after it listens. */
  readonly startup: readonly [baseMs: number, capMs: number];
  /** While the kind is not served: its CRD may come any moment. */
  readonly missing: readonly [baseMs: number, capMs: number];
  /** How long `reach` waits for the watch before it lists. */
  readonly reachMs: number;
  /** Quiet for so long, and failures count from the base again. */
  readonly resetMs: number;
  /** What the server is asked to keep a watch open for: a random time between the two. */
  readonly watchSeconds: readonly [min: number, max: number];
  /**
   * A watch without a byte for so long is opened anew, from where it was. API servers send a bookmark each minute, so
   * two are missing by then; for a server that sends none it costs one request every so often.
   */
  readonly idleMs: number;
}

/**
 * Keeps a map of one kind's objects like its API: list, watch, and again from where it was. Objects are removed by a
 * DELETED event or by their absence from a complete list, never because the API, or the kind, could not be asked.
 * A list is told of page by page, in bursts of milliseconds, and a watch beside it tells of what changes meanwhile.
 */
export function reflect<T extends KubeObject>(options: ReflectOptions<T>): Reflector<T> {
  return new ListWatch(options);
}
