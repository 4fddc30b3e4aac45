import { Agent } from "node:http";
import { get } from "../world/requests.ts";

/** One GET; times in ms of performance.now(). */
export interface Sent {
  readonly at: number;
  readonly ms: number;
  /** 0: no answer. */
  readonly status: number;
  /** Who answered, or what went wrong. */
  readonly by: string;
}

/** A client that waits longer than this has failed, ms. */
const PATIENCE_MS = 10_000;
const TICK_MS = 5;

/** GETs at an even rate, whether or not the ones before have been answered. */
export class SteadyLoad {
  readonly sent: Sent[] = [];
  readonly #agent = new Agent({ keepAlive: true });
  readonly #open = new Set<Promise<void>>();
  readonly #timer: NodeJS.Timeout;
  #due = performance.now();

  constructor(url: string, host: string, perSecond: number) {
    this.#timer = setInterval(() => {
      const now = performance.now();
      // What a pause of this process missed is not made up for.
      this.#due = Math.max(this.#due, now - 100);
      for (; this.#due <= now; this.#due += 1000 / perSecond) {
        const one = this.#one(url, host).finally(() => this.#open.delete(one));
        this.#open.add(one);
      }
    }, TICK_MS);
  }

  async #one(url: string, host: string): Promise<void> {
    const at = performance.now();
    const { status, body, error, ms } = await get(url, host, { agent: this.#agent, timeoutMs: PATIENCE_MS });
    this.sent.push({ at, ms, status, by: status === 200 ? body : (error ?? body.trim()) });
  }

  /** Resolves when every request has ended. */
  async stop(): Promise<void> {
    clearInterval(this.#timer);
    await Promise.all(this.#open);
    this.#agent.destroy();
  }
}
