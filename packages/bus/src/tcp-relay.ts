import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";

/** Stands between clients and a server on loopback, so that a test can break their connections while both live on. */
export interface TcpRelay {
  readonly port: number;
  cut(): void;
  close(): Promise<void>;
}

export async function startRelay(to: number): Promise<TcpRelay> {
  const sockets = new Set<Socket>();
  const track = (socket: Socket) => {
    sockets.add(socket);
    socket.on("close", () => sockets.delete(socket));
    // A connection that is cut ends with an error on one side or the other: that is what it is for.
    socket.on("error", () => socket.destroy());
  };
  const server = createServer((client) => {
    const upstream = connect(to, "127.0.0.1");
    track(client);
    track(upstream);
    client.pipe(upstream).pipe(client);
    client.on("close", () => upstream.destroy());
    upstream.on("close", () => client.destroy());
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const cut = () => {
    for (const socket of sockets) socket.destroy();
  };
  return {
    port: (server.address() as AddressInfo).port,
    cut,
    close: async () => {
      server.close();
      cut();
      await once(server, "close");
    },
  };
}
