import assert from "node:assert/strict";
import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { test } from "node:test";
import { Link } from "./tcp-proxy.ts";

interface Echo extends AsyncDisposable {
  readonly port: number;
  readonly sockets: Set<Socket>;
}

async function echo(): Promise<Echo> {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on("error", () => {});
    socket.pipe(socket);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    port: (server.address() as AddressInfo).port,
    sockets,
    [Symbol.asyncDispose]: () =>
      new Promise<void>((resolve) => {
        for (const socket of sockets) socket.destroy();
        server.close(() => resolve());
      }),
  };
}

class Client {
  readonly socket: Socket;
  readonly closed: Promise<void>;
  text = "";

  constructor(port: number) {
    this.socket = connect({ host: "127.0.0.1", port });
    this.socket.setEncoding("utf8");
    this.socket.on("data", (piece: string) => {
      this.text += piece;
    });
    // A reset is what half of these tests ask for.
    this.socket.on("error", () => {});
    this.closed = new Promise((resolve) => this.socket.once("close", () => resolve()));
  }

  async reads(text: string): Promise<void> {
    while (!this.text.includes(text)) {
      if (this.socket.destroyed) throw new Error(`closed after ${JSON.stringify(this.text)}`);
      await Promise.race([once(this.socket, "data"), this.closed]);
    }
  }
}

test("a link passes bytes both ways, and an end as an end", async () => {
  await using server = await echo();
  await using link = await Link.to("a", server.port);
  const client = new Client(link.port);
  client.socket.end("hello");
  await client.reads("hello");
  if (!client.socket.readableEnded) await once(client.socket, "end");
  assert.equal(client.text, "hello");
});

test("a cut ends what is open and lets the next connection through", async () => {
  await using server = await echo();
  await using link = await Link.to("a", server.port);
  const first = new Client(link.port);
  first.socket.write("one");
  await first.reads("one");
  assert.equal(link.cut(), 1);
  await first.closed;
  const second = new Client(link.port);
  second.socket.write("two");
  await second.reads("two");
  second.socket.destroy();
});

test("a refusing link resets whoever comes, until it heals", async () => {
  await using server = await echo();
  await using link = await Link.to("a", server.port);
  link.set({ kind: "refuse" });
  const refused = new Client(link.port);
  await refused.closed;
  assert.equal(refused.text, "");
  link.heal();
  const served = new Client(link.port);
  served.socket.write("again");
  await served.reads("again");
  served.socket.destroy();
});

test("a black hole holds bytes and ends nothing; healed, they arrive in order", async () => {
  await using server = await echo();
  await using link = await Link.to("a", server.port);
  const client = new Client(link.port);
  client.socket.write("before ");
  await client.reads("before ");
  link.set({ kind: "black-hole" });
  client.socket.write("one ");
  client.socket.write("two");
  const other = await Link.to("b", server.port);
  const beside = new Client(other.port);
  beside.socket.write("beside");
  // What goes over a link beside it, both ways, shows that the bytes above had their time.
  await beside.reads("beside");
  assert.equal(client.text, "before ");
  assert.equal(client.socket.destroyed, false);
  link.heal();
  await client.reads("one two");
  client.socket.destroy();
  beside.socket.destroy();
  await other[Symbol.asyncDispose]();
});

test("a delayed link is late by what was asked in each direction, and keeps the order", async () => {
  await using server = await echo();
  await using link = await Link.to("a", server.port);
  const client = new Client(link.port);
  client.socket.write("now ");
  await client.reads("now ");
  link.set({ kind: "delay", ms: 60 });
  const began = performance.now();
  client.socket.write("one ");
  client.socket.write("two");
  await client.reads("one two");
  assert.ok(performance.now() - began >= 119, `${performance.now() - began} ms`);
  client.socket.destroy();
});

test("more than a link holds in a black hole stops its sender, and all of it arrives once healed", async () => {
  await using server = await echo();
  await using link = await Link.to("a", server.port);
  const client = new Client(link.port);
  client.socket.write("x");
  await client.reads("x");
  link.set({ kind: "black-hole" });
  const bytes = 12 * 1024 * 1024;
  client.socket.write(Buffer.alloc(bytes, "y"));
  link.heal();
  while (client.text.length < bytes + 1) await once(client.socket, "data");
  client.socket.destroy();
});

test("a link follows its server to another port", async () => {
  await using first = await echo();
  await using second = await echo();
  await using link = await Link.to("a", first.port);
  link.target = second.port;
  const client = new Client(link.port);
  client.socket.write("hello");
  await client.reads("hello");
  assert.equal(first.sockets.size, 0);
  assert.equal(second.sockets.size, 1);
  client.socket.destroy();
});
