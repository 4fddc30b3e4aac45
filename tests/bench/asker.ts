import { connect, type Socket } from "node:net";

/**
 * One kept-alive connection through the proxy, one request at a time. A raw socket: an HTTP client would take more of
 * the two cores than all of Sluice.
 */
export class Asker implements Disposable {
  readonly #url: URL;
  #socket: Socket;
  #text = "";
  #answered: (body: string) => void = () => {};

  constructor(url: string) {
    this.#url = new URL(url);
    this.#socket = this.#connect();
  }

  #connect(): Socket {
    const socket = connect({ host: this.#url.hostname, port: Number(this.#url.port), noDelay: true });
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
    return new Promise((resolve) => {
      this.#answered = resolve;
      // nginx closes a kept-alive connection after so many requests.
      if (this.#socket.destroyed) this.#socket = this.#connect();
      this.#socket.write(`GET / HTTP/1.1\r\nHost: ${host}\r\n\r\n`);
    });
  }

  [Symbol.dispose](): void {
    this.#socket.destroy();
  }
}
