import { Resolver } from "node:dns/promises";
import { isIP } from "node:net";
import type { Lookup } from "./auth-names.ts";

/** Milliseconds for one try; of two. */
const TRY_MS = 2000;

/** A name server as `--resolver` takes it: an address, with or without a port. */
export function nameServer(text: string): string {
  const [, host = "", port] =
    /^(\[[0-9A-Fa-f:.]+\]|[0-9.]+|[0-9A-Fa-f:]+)(?::([0-9]{1,5}))?$/.exec(text) ?? [];
  const address = host.replace(/^\[|\]$/g, "");
  if (isIP(text) === 0 && (isIP(address) === 0 || Number(port ?? 53) < 1 || Number(port ?? 53) > 65_535)) {
    throw new Error(
      `${JSON.stringify(text)} is no address of a name server, such as 10.96.0.10 or [fd00::a]:53`,
    );
  }
  return text;
}

/**
 * Looks names up by asking name servers, over the network alone: no thread waits for one that is silent. As nginx does it,
 * a name is a whole one: search lists and /etc/hosts say nothing of it. @param servers empty: those of /etc/resolv.conf
 */
export function nameServers(
  servers: readonly string[],
): (name: string, signal: AbortSignal) => Promise<Lookup> {
  return async (name, signal) => {
    signal.throwIfAborted();
    const resolver = new Resolver({ timeout: TRY_MS, tries: 2 });
    if (servers.length > 0) resolver.setServers(servers);
    const stop = () => resolver.cancel();
    signal.addEventListener("abort", stop, { once: true });
    try {
      const answers = await Promise.allSettled([
        resolver.resolve4(name, { ttl: true }),
        resolver.resolve6(name, { ttl: true }),
      ]);
      const found = answers.flatMap((answer) => (answer.status === "fulfilled" ? answer.value : []));
      const failure = answers.find((answer) => answer.status === "rejected");
      if (found.length === 0) throw failure?.reason ?? new Error("no address");
      return {
        addresses: found.map(({ address }) => address),
        ttlSeconds: Math.min(...found.map(({ ttl }) => ttl)),
      };
    } finally {
      signal.removeEventListener("abort", stop);
    }
  };
}
