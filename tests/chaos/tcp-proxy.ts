import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";

/** What may be wrong with a link. `cut` is no state: it ends what is open, and new connections may come at once. */
export type LinkFault =
  | { readonly kind: "none" }
  /** What is open ends with a reset, and so does whatever comes. */
  | { readonly kind: "refuse" }
  /** Every piece of data arrives so many milliseconds later, in both directions and in order. */
  | { readonly kind: "delay"; readonly ms: number }
  /** Nothing arrives, nothing ends: bytes wait until the link heals. */
  | { readonly kind: "black-hole" };

/** Bytes that wait in one direction before its sender is no longer read: what a kernel's buffers would hold. */
const HELD_BYTES = 4 * 1024 * 1024;

const whole: LinkFault = { kind: "none" };

interface Piece {
  readonly at: number;
  /** null: the end. */
  readonly bytes: Buffer | null;
}

/** One direction of one connection: pieces go on in order once their time has come and nothing is in the way. */
class Direction {
  readonly #from: Socket;
  readonly #to: Socket;
  readonly #fault: () => LinkFault;
  #waiting: Piece[] = [];
  #heldBytes = 0;
  #timer: NodeJS.Timeout | undefined;

  constructor(from: Socket, to: Socket, fault: () => LinkFault) {
    this.#from = from;
    this.#to = to;
    this.#fault = fault;
    from.on("data", (bytes: Buffer) => this.#take(bytes));
    from.on("end", () => this.#take(null));
    to.on("drain", () => this.flush());
  }

  #take(bytes: Buffer | null): void {
    const fault = this.#fault();
    const lateMs = fault.kind === "delay" ? fault.ms : 0;
    this.#waiting.push({ at: performance.now() + lateMs, bytes });
    this.#heldBytes += bytes?.length ?? 0;
    if (this.#heldBytes > HELD_BYTES) this.#from.pause();
    this.flush();
  }

  /** Sends what may go now. */
  flush(): void {
    clearTimeout(this.#timer);
    if (this.#fault().kind === "black-hole") return;
    for (let piece = this.#waiting[0]; piece !== undefined; piece = this.#waiting[0]) {
      const leftMs = piece.at - performance.now();
      if (leftMs > 0) {
        this.#timer = setTimeout(() => this.flush(), leftMs);
        return;
      }
      if (this.#to.writableNeedDrain) return;
      this.#waiting.shift();
      if (piece.bytes === null) {
        this.#to.end();
        return;
      }
      this.#heldBytes -= piece.bytes.length;
      this.#to.write(piece.bytes);
    }
    if (this.#from.isPaused() && this.#heldBytes <= HELD_BYTES) this.#from.resume();
  }

  stop(): void {
    clearTimeout(this.#timer);
    this.#waiting = [];
  }
}

/** One client's way to one server, in the test's hands. */
export class Link implements AsyncDisposable {
  readonly name: string;
  readonly port: number;
  readonly #server: Server;
  #target: number;
  #fault: LinkFault = whole;
  readonly #pairs = new Map<Socket, { readonly far: Socket; readonly ways: readonly Direction[] }>();

  private constructor(name: string, server: Server, target: number) {
    this.name = name;
    this.#server = server;
    this.#target = target;
    this.port = (server.address() as AddressInfo).port;
    server.on("connection", (near) => this.#open(near));
  }

  /** @param target port of the server, on 127.0.0.1 */
  static async to(name: string, target: number): Promise<Link> {
    // Half-open ends must pass as they come: an HTTP client may close its side first.
    const server = createServer({ allowHalfOpen: true, noDelay: true });
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      server.listen(0, "127.0.0.1", resolve);
    });
    return new Link(name, server, target);
  }

  get fault(): LinkFault {
    return this.#fault;
  }

  /** Where new connections go; what is open stays. */
  set target(port: number) {
    this.#target = port;
  }

  set(fault: LinkFault): void {
    this.#fault = fault;
    if (fault.kind === "refuse") this.cut();
    for (const { ways } of this.#pairs.values()) for (const way of ways) way.flush();
  }

  heal(): void {
    this.set(whole);
  }

  /** Ends all open connections with a reset. @returns how many there were */
  cut(): number {
    const open = [...this.#pairs.keys()];
    for (const near of open) this.#close(near);
    return open.length;
  }

  #open(near: Socket): void {
    if (this.#fault.kind === "refuse") {
      near.on("error", () => near.destroy());
      near.resetAndDestroy();
      return;
    }
    const far = connect({ host: "127.0.0.1", port: this.#target, allowHalfOpen: true, noDelay: true });
    const fault = () => this.#fault;
    const ways = [new Direction(near, far, fault), new Direction(far, near, fault)];
    this.#pairs.set(near, { far, ways });
    for (const socket of [near, far]) {
      socket.on("error", () => this.#close(near));
      socket.on("close", () => {
        if (near.closed && far.closed) this.#forget(near);
        else if (near.errored !== null || far.errored !== null) this.#close(near);
      });
    }
  }

  #close(near: Socket): void {
    const far = this.#pairs.get(near)?.far;
    this.#forget(near);
    for (const socket of [near, far]) {
      if (socket === undefined || socket.destroyed) continue;
      // A reset of a socket whose end is on its way leaves a handle that never closes, and the process at its exit with it.
      if (socket.writableEnded || socket.connecting) socket.destroy();
      else socket.resetAndDestroy();
    }
  }

  #forget(near: Socket): void {
    for (const way of this.#pairs.get(near)?.ways ?? []) way.stop();
    this.#pairs.delete(near);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    this.cut();
    await closed;
  }
}
