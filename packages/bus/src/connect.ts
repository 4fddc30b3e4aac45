import { type Bus, type BusKit, createBus } from "./bus.ts";
import type { BusFiles } from "./credentials.ts";
import { NatsStore } from "./nats-store.ts";

/** A process's settings of the bus, as service-kit reads them. */
export interface BusConfig {
  readonly natsUrl: string;
  readonly natsNkey: string | undefined;
  readonly natsCa: string | undefined;
  readonly natsCert: string | undefined;
  readonly natsKey: string | undefined;
  /** Of those who create what is missing. */
  readonly natsReplicas?: number;
}

/** What `connectBus` needs of a process's settings. */
export function busOptions(config: BusConfig): Pick<ConnectOptions, "url" | "files" | "replicas"> {
  const { natsUrl, natsNkey, natsCa, natsCert, natsKey, natsReplicas } = config;
  return {
    url: natsUrl,
    files: {
      ...(natsNkey !== undefined && { nkey: natsNkey }),
      ...(natsCa !== undefined && { ca: natsCa }),
      ...(natsCert !== undefined && { cert: natsCert }),
      ...(natsKey !== undefined && { key: natsKey }),
    },
    ...(natsReplicas !== undefined && { replicas: natsReplicas }),
  };
}

export interface ConnectOptions {
  /** e.g. `nats://127.0.0.1:4222`; several servers of one cluster separated by commas */
  readonly url: string;
  readonly files?: BusFiles;
  /** Copies of each stream, at least; default 1. */
  readonly replicas?: number;
  /** The role of this process, e.g. `aggregator`; what it may do on the bus goes by it. */
  readonly name: string;
  readonly kit: BusKit;
  /** Resolve only once a server has answered; default true. Otherwise it connects in the background. */
  readonly waitOnFirstConnect?: boolean;
}

/**
 * @throws BusAssetError when a bucket on the bus is configured otherwise than Sluice needs it, BusServerError when the
 *   server lacks something, BusForbiddenError when it does not know this process
 */
export async function connectBus(options: ConnectOptions): Promise<Bus> {
  const { kit, waitOnFirstConnect = true, ...to } = options;
  // The connection outlives the order to stop: what this process holds is handed over first.
  const end = new AbortController();
  const store = new NatsStore({ ...to, kit: { ...kit, signal: end.signal } });
  const bus = createBus(store, to.name, kit, end);
  if (waitOnFirstConnect) await store.ready(end.signal);
  return bus;
}
