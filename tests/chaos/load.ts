import { Agent } from "node:http";
import { type Answer, get } from "../world/requests.ts";
import type { Pod } from "./members.ts";

export interface LoadProxy {
  readonly name: string;
  readonly url: string;
  /** Its nginx has been ended by the test at any time since then, ms of performance.now(). */
  wasDownSince(at: number): boolean;
}

interface LoadOptions {
  readonly proxies: readonly LoadProxy[];
  readonly services: readonly string[];
  readonly perSecond: number;
  /** Why this answer is wrong; null: it is right. */
  judge(service: string, body: string, sentAt: number): string | null;
  /** Called for every failed or wrong answer. */
  onWrong(what: string): void;
}

export interface LoadTally {
  requests: number;
  failed: number;
  /** Answers by somebody who must not answer. */
  wrong: number;
  /** Requests that went to the other proxy because the test had ended the first one's nginx. */
  moved: number;
  longestMs: number;
}

export const hostOf = (service: string): string => `${service}.example.test`;
const REQUEST_MS = 10_000;

/**
 * GETs at an even rate over all services and proxies until stopped, each on a connection of its own. As whoever stands
 * before two proxies would, it asks the other one where a connection fails, but only if the test has just ended that
 * nginx; any other failure counts, and so does every answer but 200.
 */
export class Load {
  readonly #options: LoadOptions;
  readonly #agent = new Agent({ keepAlive: false });
  readonly #open = new Set<Promise<void>>();
  readonly #timer: NodeJS.Timeout;
  #tally: LoadTally = emptyTally();
  #sent = 0;
  #due: number;

  constructor(options: LoadOptions) {
    this.#options = options;
    this.#due = performance.now();
    this.#timer = setInterval(() => this.#send(), 10);
  }

  /** What has come since it was last asked. */
  take(): LoadTally {
    const tally = this.#tally;
    this.#tally = emptyTally();
    return tally;
  }

  #send(): void {
    const now = performance.now();
    // After a pause of this process what was missed is not made up for: a burst would be another load than asked for.
    this.#due = Math.max(this.#due, now - 100);
    for (; this.#due <= now; this.#due += 1000 / this.#options.perSecond) {
      const { services, proxies } = this.#options;
      const service = services[this.#sent % services.length];
      const at = Math.floor(this.#sent / services.length) % proxies.length;
      this.#sent++;
      if (service === undefined) return;
      const request = this.#one(service, at).finally(() => this.#open.delete(request));
      this.#open.add(request);
    }
  }

  async #one(service: string, at: number): Promise<void> {
    const { proxies, judge, onWrong } = this.#options;
    const [first, second] = [proxies[at], proxies[(at + 1) % proxies.length]];
    if (first === undefined || second === undefined) return;
    const sentAt = performance.now();
    let proxy = first;
    let answer = await this.ask(first, service);
    if (answer.status === 0 && first.wasDownSince(sentAt)) {
      this.#tally.moved++;
      proxy = second;
      answer = await this.ask(second, service);
    }
    const tally = this.#tally;
    tally.requests++;
    tally.longestMs = Math.max(tally.longestMs, performance.now() - sentAt);
    if (answer.status !== 200) {
      tally.failed++;
      const what = answer.error ?? `${answer.status} ${answer.body.trim().slice(0, 80)}`;
      onWrong(`GET ${hostOf(service)} by ${proxy.name} failed after ${Math.round(answer.ms)} ms: ${what}`);
      return;
    }
    const why = judge(service, answer.body, sentAt);
    if (why === null) return;
    tally.wrong++;
    onWrong(`GET ${hostOf(service)} by ${proxy.name}: ${why}`);
  }

  ask(proxy: LoadProxy, service: string): Promise<Answer> {
    return get(proxy.url, hostOf(service), { agent: this.#agent, timeoutMs: REQUEST_MS });
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer);
    await Promise.all(this.#open);
    this.#agent.destroy();
  }
}

function emptyTally(): LoadTally {
  return { requests: 0, failed: 0, wrong: 0, moved: 0, longestMs: 0 };
}

/** Who may answer a request: a pod of that service that was ready and exported at some time since `calmAt`. */
export function judgeAnswer(
  pod: Pod | undefined,
  answered: string,
  service: string,
  mayNow: boolean,
  calmAt: number,
): string | null {
  if (pod === undefined) return `answered by ${JSON.stringify(answered)}, which is no pod of these members`;
  if (pod.service !== service) return `answered by ${pod.name}, a pod of ${pod.service}`;
  if (mayNow || pod.lostAt >= calmAt) return null;
  return `answered by ${pod.name}, which has not been a ready and exported pod since all was seen converged`;
}
