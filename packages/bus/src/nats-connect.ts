import { AuthorizationError, connect, type NatsConnection } from "@nats-io/transport-node";
import { BusForbiddenError } from "@sluice/contracts";
import { Backoff, type Kit, slept } from "@sluice/service-kit";
import type { BusCredentials } from "./credentials.ts";

export interface NatsServers {
  /** e.g. `nats://127.0.0.1:4222`; several separated by commas. */
  readonly url: string;
  /** Shown by the server, e.g. `aggregator`; says what this process may do, too. */
  readonly name: string;
  readonly kit: Pick<Kit, "log" | "clock" | "random">;
}

/**
 * Tries until a server answers; from then on the connection comes back by itself.
 * @returns null once the signal has aborted
 * @throws BusForbiddenError
 */
export async function connectNats(
  { url, name, kit }: NatsServers,
  { options, who }: BusCredentials,
  signal: AbortSignal,
): Promise<NatsConnection | null> {
  const backoff = new Backoff(100, 2000, kit.random.next);
  let told = false;
  while (!signal.aborted) {
    try {
      return await connect({
        ...options,
        servers: url.split(","),
        name: `sluice-${name}`,
        maxReconnectAttempts: -1,
        // A credential may be revoked and come back while this process runs; only at the start it is an error.
        ignoreAuthErrorAbort: true,
        // Otherwise each request makes two Errors for their stacks, whether or not it fails.
        noAsyncTraces: true,
        reconnectTimeWait: 100,
        reconnectJitter: 100,
        pingInterval: 5000,
        maxPingOut: 2,
        timeout: 3000,
        ignoreClusterUpdates: false,
      });
    } catch (err) {
      if (isRefusal(err)) {
        throw new BusForbiddenError(`the bus at ${url} does not let ${name} in with ${who}`, {
          cause: err,
        });
      }
      if (!told) kit.log.warn({ err, url }, "no NATS server answers, trying on");
      told = true;
      await slept(kit.clock, backoff.next() + 50, signal);
    }
  }
  return null;
}

/** A server that did not get the answer to its challenge in time refuses nobody: the link, or a machine, is slow. */
export function isRefusal(error: unknown): boolean {
  const refused = [error, (error as Error).cause].find((each) => each instanceof AuthorizationError);
  return refused !== undefined && !/timeout/i.test(refused.message);
}
