import { connect, createServer } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import { ChildExitedError, PortTakenError } from "@sluice/contracts";
import { freePort } from "@sluice/native-tools";
import type { Child } from "./child.ts";
import type { HttpsPort } from "./https-port.ts";

/** For TLS, where nothing is said. */
const HTTPS_PORT = 31591;

/** @throws PortTakenError naming the address and the flag that chooses another */
export async function portFree(host: string, port: number, flag: string): Promise<void> {
  const server = createServer();
  await new Promise<void>((resolve, reject) => {
    server.once("error", (cause: NodeJS.ErrnoException) =>
      reject(
        new PortTakenError(
          `${host}:${port} cannot be listened on (${cause.code}); end what holds it, or choose another with ${flag}`,
          { cause },
        ),
      ),
    );
    server.listen(port, host, resolve);
  });
  await new Promise<void>((resolve) => server.close(() => resolve()));
}

/**
 * @param usual whether the port for http is the usual one; who chooses that one wants the other out of the way, too
 * @returns null: TLS is not served
 * @throws PortTakenError where the port was asked for
 */
export async function takeHttpsPort(given: HttpsPort, usual: boolean): Promise<number | null> {
  if (given === "off") return null;
  if (given !== "auto") {
    await portFree("127.0.0.1", given, "--https-port");
    return given;
  }
  if (!usual) return freePort();
  return portFree("127.0.0.1", HTTPS_PORT, "--https-port").then(
    () => HTTPS_PORT,
    () => freePort(),
  );
}

async function accepts(host: string, port: number): Promise<boolean> {
  const socket = connect({ host, port });
  try {
    return await new Promise<boolean>((resolve) => {
      socket.once("connect", () => resolve(true));
      socket.once("error", () => resolve(false));
    });
  } finally {
    socket.destroy();
  }
}

/**
 * Resolves when something listens on `address` (`host:port`).
 * @throws ChildExitedError when the process that should has ended
 */
export async function waitForListener(address: string, child: Child, signal: AbortSignal): Promise<void> {
  const at = address.lastIndexOf(":");
  const host = address.slice(0, at);
  const port = Number(address.slice(at + 1));
  while (!(await accepts(host, port))) {
    if (!child.running)
      throw new ChildExitedError(`${child.name} ended before it listened; its log: ${child.logFile}`);
    await delay(5, undefined, { signal });
  }
}
