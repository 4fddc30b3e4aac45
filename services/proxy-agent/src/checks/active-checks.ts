import type { HealthCheck } from "@sluice/contracts";
import { type Kit, LinkedAbort, slept, TimeLimit } from "@sluice/service-kit";
import { Wake } from "../wake.ts";
import type { CheckTls } from "./check-tls.ts";
import { nextCheckMs, stretch } from "./pace.ts";
import { PeerHealth } from "./peer-health.ts";
import type { Probe } from "./probe.ts";

/** A peer of one upstream, and how that upstream wants its peers asked. */
export interface CheckedPeer {
  readonly upstream: string;
  readonly cluster: string;
  readonly address: string;
  readonly port: number;
  readonly check: HealthCheck;
  /** Of a check that speaks TLS. */
  readonly tls?: CheckTls;
}

/** Upstream, cluster and peer as nginx names them. */
export type CheckedName = readonly [upstream: string, cluster: string, peer: string];

/** What nginx is told: who is out, for so many seconds unless it is said again, and who is back. */
export interface CheckVerdicts {
  readonly seconds: number;
  readonly out: readonly CheckedName[];
  readonly back: readonly CheckedName[];
}

export interface CheckPorts {
  readonly probe: Probe;
  /** Proxies that live, this one among them; they ask the same peers. */
  proxies(): number;
  /** @returns false when nginx is another one than was expected */
  tell(verdicts: CheckVerdicts, expect: string, signal: AbortSignal): Promise<boolean>;
}

interface Followed {
  readonly peer: CheckedPeer;
  readonly name: CheckedName;
  readonly health: PeerHealth;
  readonly end: LinkedAbort;
}

/** Seconds that nginx keeps a peer out without being told again; then it is as if nobody checked. */
const KEPT_SECONDS = 30;
const AGAIN_MS = (KEPT_SECONDS / 3) * 1000;
const RETRY_MS = 50;
/** A limit that is over so much later than it should be says that this process did not run, and nothing of the peer. */
const LATE = 1.5;
/** Verdicts in one call: a worker that takes them in serves nobody. */
const MOST_AT_ONCE = 500;

/** Asks peers whether they serve, each at its own pace, and tells nginx who is out and who is back. */
export class ActiveChecks {
  readonly #ports: CheckPorts;
  readonly #kit: Pick<Kit, "clock" | "random" | "signal" | "log" | "metrics">;
  /** The nginx that has our rows; null: none. */
  readonly #instance: () => string | null;
  readonly #followed = new Map<string, Followed>();
  readonly #running = new Set<Promise<void>>();
  readonly #wake = new Wake();
  readonly #news = new Map<string, { readonly name: CheckedName; readonly out: boolean }>();
  #toldInstance: string | null = null;
  #toldAt = Number.NEGATIVE_INFINITY;
  #perSecond = 0;

  constructor(
    ports: CheckPorts,
    kit: Pick<Kit, "clock" | "random" | "signal" | "log" | "metrics">,
    instance: () => string | null,
  ) {
    this.#ports = ports;
    this.#kit = kit;
    this.#instance = instance;
  }

  /** These are to be asked from now on, and no others. */
  want(peers: Iterable<CheckedPeer>): void {
    const before = new Set(this.#followed.keys());
    let perSecond = 0;
    for (const peer of peers) {
      const { upstream, cluster, address, port, check, tls } = peer;
      const id = JSON.stringify([upstream, cluster, address, port, check, tls?.id]);
      perSecond += 1000 / check.intervalMs;
      if (!before.delete(id) && !this.#followed.has(id)) this.#begin(id, peer);
    }
    this.#perSecond = perSecond;
    for (const id of before) this.#forget(id);
    this.#measure();
  }

  #begin(id: string, peer: CheckedPeer): void {
    const { upstream, cluster, address, port } = peer;
    const host = address.includes(":") ? `[${address}]` : address;
    const name: CheckedName = [upstream, cluster, `${host}:${port}`];
    const end = new LinkedAbort(this.#kit.signal);
    const followed = { peer, name, health: new PeerHealth(), end };
    this.#followed.set(id, followed);
    const running = this.#follow(followed).finally(() => {
      end[Symbol.dispose]();
      this.#running.delete(running);
    });
    this.#running.add(running);
  }

  #forget(id: string): void {
    const followed = this.#followed.get(id);
    if (followed === undefined) return;
    this.#followed.delete(id);
    followed.end.abort();
    // Nobody asks any more whether it is back.
    if (followed.health.out) this.#say(followed.name, false);
  }

  async #follow({ peer, name, health, end }: Followed): Promise<void> {
    const { clock, random } = this.#kit;
    const { check } = peer;
    if (!(await slept(clock, check.intervalMs * random.next(), end.signal))) return;
    for (;;) {
      const began = clock.monotonic();
      const passed = await this.#ask(peer, end.signal);
      if (end.signal.aborted) return;
      if (passed !== null && health.note(passed, check)) this.#say(name, health.out);
      const stretched = stretch(this.#perSecond);
      const every = nextCheckMs(
        check.intervalMs,
        health.certain,
        this.#ports.proxies(),
        stretched,
        random.next(),
      );
      const rest = Math.max(1, began + every - clock.monotonic());
      if (!(await slept(clock, rest, end.signal))) return;
    }
  }

  /** @returns null: nothing can be said of it */
  async #ask({ check, address, port, tls }: CheckedPeer, signal: AbortSignal): Promise<boolean | null> {
    const { clock, metrics } = this.#kit;
    const total = metrics.counter("sluice_proxy_checks_total", "Checks of peers by outcome.", ["result"]);
    const began = clock.monotonic();
    using limit = new TimeLimit(clock, check.timeoutMs, signal);
    try {
      await this.#ports.probe(
        check,
        { address, port, ...(tls === undefined ? {} : { tls: tls.options }) },
        limit.signal,
      );
      total.inc({ result: "passed" });
      return true;
    } catch {
      if (signal.aborted) return null;
      if (limit.expired && clock.monotonic() - began > check.timeoutMs * LATE) {
        total.inc({ result: "late" });
        return null;
      }
      // Why is said by whoever asks the peer; a fleet that asks four times a second would fill its logs with it.
      total.inc({ result: "missed" });
      return false;
    }
  }

  #say(name: CheckedName, out: boolean): void {
    this.#news.set(name.join("|"), { name, out });
    this.#measure();
    this.#wake.notify();
  }

  #measure(): void {
    const gauge = this.#kit.metrics.gauge("sluice_proxy_checked_peers", "Peers that are checked, by state.", [
      "state",
    ]);
    const out = [...this.#followed.values()].filter(({ health }) => health.out).length;
    gauge.set({ state: "out" }, out);
    gauge.set({ state: "in" }, this.#followed.size - out);
  }

  /** Nginx may be another, or have come back. */
  notify(): void {
    this.#wake.notify();
  }

  /** Until the signal of the kit aborts. */
  async run(): Promise<void> {
    const { clock, signal, log } = this.#kit;
    while (!signal.aborted) {
      const again = new LinkedAbort(signal);
      const due = slept(clock, AGAIN_MS, again.signal).then((late) => late && this.#wake.notify());
      await this.#wake.wait(signal);
      again.abort();
      await due;
      try {
        await this.#tell();
      } catch (err) {
        if (signal.aborted) break;
        log.debug({ err }, "nginx was not told what checks found; trying again");
        await slept(clock, RETRY_MS, signal);
        this.#wake.notify();
      }
    }
    await Promise.all(this.#running);
  }

  async #tell(): Promise<void> {
    const { clock, signal } = this.#kit;
    const instance = this.#instance();
    if (instance === null) return;
    const whole = instance !== this.#toldInstance || clock.monotonic() - this.#toldAt >= AGAIN_MS;
    if (whole) this.#sayAll();
    while (this.#news.size > 0) {
      const batch = [...this.#news].slice(0, MOST_AT_ONCE);
      const named = (out: boolean) => batch.flatMap(([, each]) => (each.out === out ? [each.name] : []));
      const verdicts = { seconds: KEPT_SECONDS, out: named(true), back: named(false) };
      if (!(await this.#ports.tell(verdicts, instance, signal))) return;
      for (const [key, told] of batch) if (this.#news.get(key) === told) this.#news.delete(key);
    }
    if (!whole) return;
    this.#toldInstance = instance;
    this.#toldAt = clock.monotonic();
  }

  /** Whoever is out is so still, and another nginx never heard of it. */
  #sayAll(): void {
    for (const { name, health } of this.#followed.values()) {
      const key = name.join("|");
      if (health.out && !this.#news.has(key)) this.#news.set(key, { name, out: true });
    }
  }
}
