import { createServer, type Socket } from "node:net";

/**
 * Answers any request with the address that it came to, as cheaply as it can: it shares the cores with what is measured.
 * @param address one address, or 0.0.0.0 for all of loopback
 */
export function servePeer(address: string, port: number): Promise<AsyncDisposable> {
  const sockets = new Set<Socket>();
  const server = createServer({ noDelay: true }, (socket) => {
    const body = socket.localAddress ?? "";
    const answer = `HTTP/1.1 200 OK\r\ncontent-length: ${body.length}\r\n\r\n${body}`;
    sockets.add(socket);
    socket.on("data", () => socket.write(answer));
    socket.on("error", () => socket.destroy());
    socket.on("close", () => sockets.delete(socket));
  });
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(port, address, () =>
      resolve({
        [Symbol.asyncDispose]: () => {
          for (const socket of sockets) socket.destroy();
          return new Promise<void>((closed) => server.close(() => closed()));
        },
      }),
    );
  });
}
