import { connect, type Socket } from "node:net";

/**
 * One kept-alive connection to nginx, one request at a time. A raw socket: an HTTP client would take more of the two
 * cores than all of Sluice.
 */
export class Asker implements Disposable {
  readonly #to: { readonly host: string; readonly port: number } | { readonly path: string };
  #socket: Socket;
  #text = "";
  #answered: (body: string) => void = () => {};

  /** @param to a URL, or the path of a unix socket */
  constructor(to: string) {
    if (to.startsWith("/")) this.#to = { path: to };
    else {
      const { hostname, port } = new URL(to);
      this.#to = { host: hostname, port: Number(port) };
    }
    this.#socket = this.#connect();
  }

  #connect(): Socket {
    const socket = connect({ ...this.#to, noDelay: true });
    this.#text = "";
    socket.setEncoding("latin1");
    socket.on("data", (chunk: string) => {
      this.#text += chunk;
      const end = this.#text.indexOf("\r\n\r\n");
      if (end < 0) return;
      const length = Number(/content-length: ([0-9]+)/i.exec(this.#text)?.[1] ?? 0);
      if (this.#text.length < end + 4 + length) return;
      const body = this.#text.slice(end + 4, end + 4 + length);
      this.#text = "";
      this.#answered(body);
    });
    socket.on("error", () => this.#answered(""));
    socket.on("close", () => this.#answered(""));
    return socket;
  }

  /** @returns the body; empty when the connection ended */
  ask(host: string): Promise<string> {
    return this.#send(`GET / HTTP/1.1\r\nHost: ${host}\r\n\r\n`);
  }

  /** @returns the body; empty when the connection ended */
  post(path: string, body: string): Promise<string> {
    const length = Buffer.byteLength(body);
    return this.#send(`POST ${path} HTTP/1.1\r\nHost: nginx\r\nContent-Length: ${length}\r\n\r\n${body}`);
  }

  #send(text: string): Promise<string> {
    return new Promise((resolve) => {
      this.#answered = resolve;
      // nginx closes a kept-alive connection after so many requests.
      if (this.#socket.destroyed) this.#socket = this.#connect();
      this.#socket.write(text);
    });
  }

  [Symbol.dispose](): void {
    this.#socket.destroy();
  }
}
