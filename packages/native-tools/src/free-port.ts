import { createServer } from "node:net";

/** A port of a loopback address that was free a moment ago; whoever takes it must be ready to lose that race. */
export async function freePort(host = "127.0.0.1"): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(0, host, resolve);
  });
  const bound = server.address();
  await new Promise<void>((resolve) => server.close(() => resolve()));
  if (bound === null || typeof bound === "string") throw new Error(`${host} gave no port`);
  return bound.port;
}
