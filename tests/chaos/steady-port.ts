import { createServer } from "node:net";

/**
 * A port below those that the kernel gives to outgoing connections: whoever is killed and started again on it finds it
 * free, however many connections were opened meanwhile.
 */
export async function steadyPort(taken: Set<number>): Promise<number> {
  for (let tried = 0; tried < 10_000; tried++) {
    const port = 20_000 + ((process.pid * 31 + tried * 7) % 10_000);
    if (taken.has(port)) continue;
    const server = createServer();
    const free = await new Promise<boolean>((resolve) => {
      server.once("error", () => resolve(false));
      server.listen(port, "127.0.0.1", () => resolve(true));
    });
    if (!free) continue;
    await new Promise<void>((resolve) => server.close(() => resolve()));
    taken.add(port);
    return port;
  }
  throw new Error("no port from 20000 to 29999 is free");
}
