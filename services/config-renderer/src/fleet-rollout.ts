import {
  type FleetSettings,
  fleetKeys,
  PROXY_LIVE_MS,
  type ProfileRow,
  type ProxyRecord,
  type RefusedProfile,
  type RefusedSetting,
  type RolloutRow,
} from "@sluice/contracts";
import type { Kit } from "@sluice/service-kit";
import type { FleetRows } from "./fleet-rows.ts";
import { nextRollout, noRollout, type RolloutProxy, type RolloutState } from "./rollout.ts";

/**
 * Proxies are listened to for so long before something is tried, ms: each says every two seconds what it runs with, and
 * what failed there. A renderer that had just begun, on a table of an older copy, would choose another proxy for what
 * has broken one already.
 */
const LISTEN_MS = 5000;

interface Heard {
  readonly record: ProxyRecord;
  /** Monotonic, ms; `-Infinity`: it was there before, and nobody knows since when. */
  readonly at: number;
}

/** The fleet's order of rollout, as this process knows it, and what it hears of the proxies that follow it. */
export class FleetRollout {
  readonly #fleet: string;
  readonly #kit: Pick<Kit, "clock" | "random" | "log" | "metrics">;
  readonly #rows: FleetRows;
  readonly #proxies = new Map<string, Heard>();
  #row: RolloutRow | null = null;
  /** When this process first knew of the order, monotonic, ms. */
  #orderedAt = 0;
  /** When it last looked at what the proxies say, monotonic, ms. */
  #lookedAt = 0;
  /** Since when it hears of all that the proxies say, monotonic, ms. */
  #listensSince: number;
  #attached = false;

  constructor(fleet: string, rows: FleetRows, kit: Pick<Kit, "clock" | "random" | "log" | "metrics">) {
    this.#fleet = fleet;
    this.#rows = rows;
    this.#kit = kit;
    this.#listensSince = kit.clock.monotonic();
  }

  /** What the proxies say is read anew: of another life of the servers, it may be of an older copy. */
  listensAnew(): void {
    this.#listensSince = this.#kit.clock.monotonic();
  }

  /** The rows may be written from here on. */
  attach(): void {
    this.#attached = true;
    if (this.#row !== null) this.#rows.set(fleetKeys.rollout(this.#fleet), this.#row);
  }

  /** An order stands. */
  get given(): boolean {
    return this.#row !== null;
  }

  get refused(): readonly RefusedProfile[] {
    return this.#row?.refused ?? [];
  }

  get refusedSettings(): readonly RefusedSetting[] {
    return this.#row?.refusedSettings ?? [];
  }

  /** What the table holds: the newest order goes on, whoever gave it. One of an older copy of the table does not. */
  adopt(row: RolloutRow): void {
    if (this.#row !== null && row.n < this.#row.n) return;
    this.#take(row);
  }

  #take(row: RolloutRow): void {
    if (row.order !== this.#row?.order) this.#orderedAt = this.#kit.clock.monotonic();
    this.#row = row;
    if (this.#attached) this.#rows.set(fleetKeys.rollout(this.#fleet), row);
  }

  /** @param storedAt when the bus's server took it, by its own clock, ms since 1970 */
  proxyChanged(key: string, record: ProxyRecord | undefined, storedAt = record?.at ?? 0): void {
    const before = this.#proxies.get(key);
    if (record === undefined) {
      this.#proxies.delete(key);
      return;
    }
    // Delivered once more: nobody has said it anew.
    if (before?.record.at === record.at) return;
    const { clock } = this.#kit;
    const old = before === undefined && clock.now() - storedAt > PROXY_LIVE_MS;
    this.#proxies.set(key, { record, at: old ? Number.NEGATIVE_INFINITY : clock.monotonic() });
  }

  /** Decides what follows now. @returns whether other profiles or settings are refused than before */
  advance(wanted: ReadonlyMap<string, ProfileRow>, settings: FleetSettings): boolean {
    const { clock, random, log } = this.#kit;
    const now = clock.monotonic();
    // Away from the bus, or frozen: that nobody was heard of meanwhile says nothing.
    if (now - this.#lookedAt > PROXY_LIVE_MS) {
      this.#orderedAt = now;
      this.#listensSince = now;
    }
    this.#lookedAt = now;
    const state: RolloutState = this.#row === null ? noRollout : stateOf(this.#row);
    // What is being tried goes on; nothing else begins before they could all be heard.
    const heard = state.target !== null || now - this.#listensSince >= LISTEN_MS;
    const proxies = heard
      ? [...this.#proxies.values()].map((each) => this.#proxyOf(each, now, settings))
      : [];
    const next = nextRollout(state, { wanted, settings, proxies, orderAgeMs: now - this.#orderedAt });
    // The first order says that there are orders: without one proxies go ahead by themselves.
    if (next === state && this.#row !== null) return false;
    const n = (this.#row?.n ?? 0) + 1;
    const order = `${n}.${Math.floor(random.next() * 2 ** 32).toString(16)}`;
    const newlyRefused = [
      ...next.refused.filter(({ hash }) => !state.refused.some((each) => each.hash === hash)),
      ...(next.refusedSettings ?? []).slice(state.refusedSettings?.length ?? 0),
    ];
    this.#count(state, next);
    log.info(
      {
        order,
        target: next.target?.id ?? null,
        admitted: next.admitted.length,
        proven: next.proven?.id ?? null,
        ...(newlyRefused.length === 0 ? {} : { refused: newlyRefused }),
      },
      "another order of rollout",
    );
    this.#take({ ...next, n, order });
    return refusedOf(next) !== refusedOf(state);
  }

  #proxyOf({ record, at }: Heard, now: number, settings: FleetSettings): RolloutProxy {
    const live = now - at <= PROXY_LIVE_MS && record.nginx.up && record.source === "bus";
    if (record.rollout === undefined) return { name: record.proxy, live };
    // Of an earlier version: it would say that it runs what it has not even read.
    if (record.rollout.settings !== true && this.#saysSettings(settings)) return { name: record.proxy, live };
    const { failed: _, ...report } = record.rollout;
    // What failed under an older order may have been mended since.
    return { name: record.proxy, live, report: report.order === this.#row?.order ? record.rollout : report };
  }

  #saysSettings(wanted: FleetSettings): boolean {
    const all = [wanted, this.#row?.proven?.settings ?? {}, this.#row?.target?.settings ?? {}];
    return all.some((settings) => Object.keys(settings).length > 0);
  }

  #count(before: RolloutState, next: RolloutState): void {
    const ended = this.#kit.metrics.counter(
      "sluice_rollouts_total",
      "Configurations that a fleet has tried by outcome.",
      ["result"],
    );
    if (before.target !== null && next.target?.id !== before.target.id) {
      const refused = ({ refused: all, refusedSettings = [] }: RolloutState) =>
        all.length + refusedSettings.length;
      const proven = refused(next) <= refused(before) && next.atOnce >= before.atOnce;
      ended.inc({ result: proven ? "proven" : "stopped" });
    }
    this.#kit.metrics
      .gauge("sluice_profiles_refused", "Profiles that a proxy of the fleet could not run with.")
      .set(next.refused.length);
    this.#kit.metrics
      .gauge("sluice_settings_refused", "Settings of listeners that a proxy of the fleet could not run with.")
      .set(next.refusedSettings?.length ?? 0);
  }
}

function refusedOf({ refused, refusedSettings = [] }: RolloutState): string {
  return JSON.stringify([refused, refusedSettings]);
}

function stateOf({ n: _, order: __, ...state }: RolloutRow): RolloutState {
  return state;
}
