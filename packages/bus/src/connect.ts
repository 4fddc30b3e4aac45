import { type Bus, type BusKit, createBus } from "./bus.ts";
import { NatsStore } from "./nats-store.ts";

export interface ConnectOptions {
  /** e.g. `nats://127.0.0.1:4222` */
  readonly url: string;
  /** The role of this process, e.g. `aggregator`. */
  readonly name: string;
  readonly kit: BusKit;
  /** Resolve only once a server has answered; default true. Otherwise it connects in the background. */
  readonly waitOnFirstConnect?: boolean;
}

/** @throws BusAssetError when a bucket on the bus is configured otherwise than Sluice needs it */
export async function connectBus(options: ConnectOptions): Promise<Bus> {
  const { kit, url, name } = options;
  // The connection outlives the order to stop: what this process holds is handed over first.
  const end = new AbortController();
  const store = new NatsStore({ url, name, kit: { ...kit, signal: end.signal } });
  const bus = createBus(store, name, kit, end);
  if (options.waitOnFirstConnect ?? true) await store.ready(end.signal);
  return bus;
}
