import type { Bus } from "@sluice/bus";
import { PortTakenError } from "@sluice/contracts";
import type { Kit } from "@sluice/service-kit";
import { buildApp } from "./app.ts";
import type { StatusOptions } from "./build-status.ts";
import { BusState } from "./bus-state.ts";
import { Orders } from "./orders.ts";

export interface TopologyGatewayOptions extends StatusOptions {
  readonly host: string;
  /** 0 takes any free one. */
  readonly port: number;
  /** Called once with the address that is listened on, e.g. `127.0.0.1:31580`. */
  onListening?(address: string): void;
}

/**
 * Answers what Sluice knows over HTTP. Resolves when the signal has aborted and nothing of it runs.
 * @throws PortTakenError
 */
export async function runTopologyGateway(
  { bus }: { readonly bus: Bus },
  options: TopologyGatewayOptions,
  kit: Kit,
): Promise<void> {
  const { signal, health, log, clock } = kit;
  health.set("tables", "not read yet");
  const orders = new Orders(bus, kit);
  const state = new BusState(bus, orders, kit);
  const past = { log: bus.log, logger: log, signal, clock };
  const app = buildApp({ state, options, orders, past, health, now: () => clock.now() });
  const { host, port } = options;
  try {
    await app.listen({ host, port });
  } catch (error) {
    const message = `${host}:${port}: ${(error as Error).message}; choose another port with --gateway-port`;
    throw new PortTakenError(message, { cause: error });
  }
  const bound = app.server.address();
  const address = `${host.includes(":") ? `[${host}]` : host}:${typeof bound === "object" ? bound?.port : port}`;
  log.info({ address }, "listening");
  options.onListening?.(address);
  const caughtUp = async () => {
    await state.caughtUp(signal);
    health.set("tables", null);
  };
  try {
    await Promise.all([
      state.run(signal),
      orders.done,
      bus.join(),
      caughtUp().catch((error: unknown) => {
        if (!signal.aborted) throw error;
      }),
    ]);
  } finally {
    await app.close();
  }
}
