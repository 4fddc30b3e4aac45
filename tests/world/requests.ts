import { Agent, request } from "node:http";

export interface Answer {
  /** 0: no answer at all. */
  readonly status: number;
  readonly body: string;
  readonly error?: string;
  readonly ms: number;
}

/** One GET through the proxy. Never throws: no answer is an answer too. */
export function get(
  url: string,
  host: string,
  options: { agent?: Agent; timeoutMs?: number } = {},
): Promise<Answer> {
  const began = performance.now();
  const took = () => performance.now() - began;
  return new Promise((resolve) => {
    const sent = request(
      url,
      {
        headers: { host },
        signal: AbortSignal.timeout(options.timeoutMs ?? 30_000),
        ...(options.agent === undefined ? {} : { agent: options.agent }),
      },
      (response) => {
        const chunks: Buffer[] = [];
        response.on("data", (chunk: Buffer) => chunks.push(chunk));
        response.on("error", (error) => resolve({ status: 0, body: "", error: error.message, ms: took() }));
        response.on("end", () =>
          resolve({ status: response.statusCode ?? 0, body: Buffer.concat(chunks).toString(), ms: took() }),
        );
      },
    );
    sent.on("error", (error) => resolve({ status: 0, body: "", error: error.message, ms: took() }));
    sent.end();
  });
}

export interface Tally {
  requests: number;
  failed: number;
  longestMs: number;
  firstFailure: string | null;
}

/** GETs one after another on each of a few lines until stopped; counts every one and keeps the newest answers. */
export class RequestLoop {
  readonly tally: Tally = { requests: 0, failed: 0, longestMs: 0, firstFailure: null };
  readonly #stopped = new AbortController();
  readonly #running: Promise<void>;
  readonly #agent = new Agent({ keepAlive: true });
  #recent: string[] = [];

  constructor(url: string, host: string, options: { lines: number; pauseMs: number; maxRequests: number }) {
    this.#running = Promise.all(
      Array.from({ length: options.lines }, () => this.#line(url, host, options)),
    ).then(() => {});
  }

  async #line(url: string, host: string, options: { pauseMs: number; maxRequests: number }): Promise<void> {
    while (!this.#stopped.signal.aborted && this.tally.requests < options.maxRequests) {
      const answer = await get(url, host, { agent: this.#agent });
      this.tally.requests++;
      this.tally.longestMs = Math.max(this.tally.longestMs, answer.ms);
      if (answer.status === 200) {
        this.#recent.push(answer.body);
        if (this.#recent.length > 200) this.#recent.shift();
      } else {
        this.tally.failed++;
        this.tally.firstFailure ??= answer.error ?? `status ${answer.status}: ${answer.body.trim()}`;
      }
      await new Promise((resolve) => setTimeout(resolve, options.pauseMs));
    }
  }

  /** The newest answers, oldest first; empties them. */
  takeAnswers(): string[] {
    const taken = this.#recent;
    this.#recent = [];
    return taken;
  }

  async stop(): Promise<Tally> {
    this.#stopped.abort();
    await this.#running;
    this.#agent.destroy();
    return this.tally;
  }
}
