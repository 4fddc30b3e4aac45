import { randomInt } from "node:crypto";
import { createServer } from "node:net";

/**
 * Where ports are looked for: below those that systems give to connections that go out (IANA: from 49152 on, Linux: from
 * 32768 on), any of which may take a port between this answer and its use; and below Sluice's own.
 */
const FIRST = 10_240;
const LAST = 30_999;
const TRIES = 200;

/** Given to somebody in this process already, who may not listen yet. */
const given = new Set<number>();

/**
 * A port of a loopback address that was free a moment ago; whoever takes it must be ready to lose that race.
 * @throws what listening says, where it is not that the port is taken
 */
export async function freePort(host = "127.0.0.1"): Promise<number> {
  for (let tries = 0; tries < TRIES; tries++) {
    const port = randomInt(FIRST, LAST + 1);
    if (given.has(port) || !(await isFree(host, port))) continue;
    given.add(port);
    return port;
  }
  throw new Error(`${host}: none of ${TRIES} ports from ${FIRST} to ${LAST} is free`);
}

async function isFree(host: string, port: number): Promise<boolean> {
  const server = createServer();
  const listening = await new Promise<boolean>((resolve, reject) => {
    server.once("error", (error: NodeJS.ErrnoException) =>
      error.code === "EADDRINUSE" || error.code === "EACCES" ? resolve(false) : reject(error),
    );
    server.listen(port, host, () => resolve(true));
  });
  if (listening) await new Promise<void>((resolve) => server.close(() => resolve()));
  return listening;
}
