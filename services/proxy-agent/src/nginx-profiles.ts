import type { FleetSettings, ProfileRow, ProxyRecord, RolloutReport, RolloutRow } from "@sluice/contracts";
import { type ListenerSettings, type ProfileSettings, readListenerSettings } from "@sluice/ingress";
import { type Kit, slept } from "@sluice/service-kit";
import type { FleetRows } from "./fleet-rows.ts";
import { withAuthorities } from "./nginx-backends.ts";
import type { NginxState } from "./nginx-client.ts";
import { type NginxOptions, renderNginx } from "./prepare-nginx.ts";
import { profileName, readProfile } from "./profile-settings.ts";
import type { ProxyMetrics } from "./proxy-metrics.ts";
import type { ReloadCheck, ReloadOutcome } from "./reload-nginx.ts";
import type { TrialStore } from "./trial-file.ts";
import { Wake } from "./wake.ts";

type Profiles = ReadonlyMap<string, ProfileSettings>;
type Listeners = Partial<ListenerSettings>;
type Failed = Extract<ReloadOutcome, { readonly ok: false }>;

export interface NginxProfilesPorts {
  /** What nginx was prepared with; null: nobody has prepared its folder yet. */
  plan(): Promise<NginxOptions | null>;
  /** Profiles of the configuration with which nginx last came up well. */
  kept(): Promise<Profiles>;
  /** What the fleet said of listeners then. Absent: nothing is kept of it. */
  keptListeners?(): Promise<Listeners>;
  readonly trial: TrialStore;
  /** @param options with what the fleet says of listeners */
  reload(options: NginxOptions, profiles: Profiles, check: ReloadCheck): Promise<ReloadOutcome>;
}

/** The agent around it. */
export interface NginxProfilesHost {
  /** This proxy's name within its fleet. */
  readonly proxy: string;
  /** As nginx last answered; null: it has not. */
  readonly state: NginxState | null;
  /** What the table lacks is gone: that there is no order means that nobody gives any. */
  readonly knowsAll: boolean;
  /** Asks nginx, over a connection that only a worker takes which still listens. */
  refresh(): Promise<void>;
  /** Routes may wait for what nginx has now. */
  changed(): void;
}

/** What nginx shall have. */
interface Goal {
  /** Id of the configuration in the order; `""`: it is none of an order's. */
  readonly configuration: string;
  readonly profiles: Profiles;
  /** Absent: what it has. */
  readonly listeners?: Listeners;
  /** Others wait for what becomes of it here. */
  readonly first?: true;
  /** Nothing beside these, not even what routes still use. */
  readonly exact?: true;
}

const RETRY_MS = 2000;
const RETRY_REFUSED_MS = 60_000;
/** An order that was not followed at once, e.g. because this process was frozen, may have been taken back since, ms. */
const ORDER_MS = 30_000;
/** The first proxy asks its new locations for so long before it says that all is well, ms. */
const PROBATION_MS = 1000;
/** A configuration that the agent did not survive twice is not tried again. */
const MOST_BEGUN = 2;
const MAX_WHY = 500;
const MAX_LAST_WHY = 300;
/** Reloads, and objects that asked for one, that are told of. */
const MAX_RECENT = 10;
const MAX_NAMED = 3;

/**
 * Which profiles nginx.conf holds. An order of the fleet says which a proxy may run: what has been proven on others, or,
 * where the proxy was let, what is being tried. What failed here is reported, and nginx goes on with what it had.
 */
export class NginxProfiles {
  readonly #ports: NginxProfilesPorts;
  readonly #host: NginxProfilesHost;
  readonly #rows: FleetRows;
  readonly #metrics: ProxyMetrics;
  readonly #kit: Kit;
  readonly #wake = new Wake();
  /** What nginx runs with, as far as it is known. */
  #loaded: Profiles | null = null;
  #listeners: Listeners = {};
  #rendered = { of: "", hash: "" };
  #heard = { order: "", at: 0 };
  #report: RolloutReport | undefined;
  #failed: (RolloutReport["failed"] & { readonly order: string }) | undefined;
  #problems: { key: string; problem: string }[] = [];
  /** What would not do: tried again when it is another text, or after a while; another order is told of it meanwhile. */
  #refused: { readonly hash: string; readonly at: number; readonly outcome: Failed } | undefined;
  #addresses: Pick<ProxyRecord, "httpAddress" | "httpsAddress"> = {};
  reloads: Pick<ProxyRecord["nginx"], "reloads" | "takenBack" | "lastReload" | "recentReloads"> = {
    reloads: 0,
  };

  constructor(
    ports: NginxProfilesPorts,
    host: NginxProfilesHost,
    rows: FleetRows,
    metrics: ProxyMetrics,
    kit: Kit,
  ) {
    this.#ports = ports;
    this.#host = host;
    this.#rows = rows;
    this.#metrics = metrics;
    this.#kit = kit;
  }

  get report(): RolloutReport | undefined {
    return this.#report;
  }

  /** Rows that cannot be had, by key. */
  get problems(): readonly { key: string; problem: string }[] {
    return this.#problems;
  }

  /** Where clients come in. */
  get addresses(): Pick<ProxyRecord, "httpAddress" | "httpsAddress"> {
    return this.#addresses;
  }

  notify(): void {
    const order = this.#rows.rollout?.order ?? "";
    // One of the last good copy may have been taken back while nobody heard of it.
    if (order !== this.#heard.order && this.#rows.rolloutHeard)
      this.#heard = { order, at: this.#kit.clock.monotonic() };
    this.#wake.notify();
  }

  async run(): Promise<void> {
    const { signal, log, clock } = this.#kit;
    await this.#whatWasBegun();
    for (;;) {
      await this.#wake.wait(signal);
      if (signal.aborted) return;
      try {
        await this.#bring();
      } catch (err) {
        if (signal.aborted) return;
        log.warn({ err }, "profiles could not be brought into nginx.conf; trying again");
        await slept(clock, RETRY_MS, signal);
        this.#wake.notify();
      }
    }
  }

  /** The agent ended while it brought nginx to this: once may be chance. */
  async #whatWasBegun(): Promise<void> {
    const trial = await this.#ports.trial.load();
    if (trial === null || trial.begun < MOST_BEGUN) return;
    const why = `the agent ended ${trial.begun} times while nginx was being brought to it`;
    this.#failed = { order: "", configuration: trial.configuration, why };
    this.#kit.log.error({ configuration: trial.configuration }, why);
  }

  async #bring(): Promise<void> {
    const { health, clock, signal } = this.#kit;
    const plan = await this.#ports.plan();
    if (plan === null) {
      health.set("plan", "nobody has prepared nginx's folder yet");
      await slept(clock, RETRY_MS, signal);
      this.#wake.notify();
      return;
    }
    health.set("plan", null);
    const { httpAddress, httpsAddress } = plan;
    this.#addresses = { httpAddress, ...(httpsAddress === undefined ? {} : { httpsAddress }) };
    const { state } = this.#host;
    if (state === null) return;
    await this.#look(plan, state);
    const order = this.#rows.rollout;
    this.#failed = failureUnder(order, this.#failed);
    this.#problems = [];
    const goal = this.#goal(order) ?? {
      configuration: "",
      profiles: await this.#ports.kept(),
      listeners: await this.#keptListeners(),
    };
    if (!this.#serves(goal, order)) await this.#reload(plan, goal, order);
    this.#rows.setProfiles(new Set(["default", ...(this.#loaded ?? new Map()).keys()]));
    if (order !== undefined) this.#tell(order);
    this.#host.changed();
  }

  /** Finds out which profiles nginx runs with. */
  async #look(plan: NginxOptions, { config }: NginxState): Promise<void> {
    if (this.#loaded !== null && this.#hashOf(plan, this.#loaded, this.#listeners) === config) return;
    const kept = await this.#ports.kept();
    this.#listeners = await this.#keptListeners();
    this.#loaded = this.#hashOf(plan, kept, this.#listeners) === config ? kept : null;
  }

  async #keptListeners(): Promise<Listeners> {
    return (await this.#ports.keptListeners?.()) ?? {};
  }

  #hashOf(plan: NginxOptions, profiles: Profiles, listeners: Listeners): string {
    const of = JSON.stringify([plan, listeners, [...profiles]]);
    if (of !== this.#rendered.of)
      this.#rendered = { of, hash: renderNginx({ ...plan, listeners }, profiles).hash };
    return this.#rendered.hash;
  }

  /** null: whatever nginx last came up well with. */
  #goal(order: RolloutRow | undefined): Goal | null {
    if (order === undefined) return this.#host.knowsAll ? this.#everything() : null;
    const { target, proven, admitted } = order;
    if (target !== null && admitted.includes(this.#host.proxy) && this.#may(order, target.id)) {
      const profiles = this.#read(target.profiles, order);
      const listeners = this.#readListeners(target.settings, order);
      const first = admitted[0] === this.#host.proxy || admitted.length <= 2;
      if (this.#failed?.configuration !== target.id)
        return { configuration: target.id, profiles, ...listeners, ...(first ? { first } : {}) };
    }
    if (proven === null) return null;
    const listeners = this.#readListeners(proven.settings);
    return { configuration: proven.id, profiles: this.#read(proven.profiles), ...listeners };
  }

  #may(order: RolloutRow, target: string): boolean {
    if (this.#failed?.configuration === target) return false;
    if (this.#report?.order === order.order && this.#report.runs === target) return true;
    if (order.order !== this.#heard.order) return false;
    return this.#kit.clock.monotonic() - this.#heard.at < ORDER_MS;
  }

  /** Nobody orders: each profile as it comes. */
  #everything(): Goal {
    const rows = [...this.#rows.profileRows()].sort(([a], [b]) => (a < b ? -1 : 1));
    const profiles = this.#read(rows.map(([, row]) => row));
    const listeners = this.#readListeners(this.#rows.settings?.[1].settings ?? {});
    return { configuration: "", profiles, ...listeners, exact: true };
  }

  /** @param trial of what is tried here: one that this version cannot read has failed */
  #readListeners(given: FleetSettings | undefined, trial?: RolloutRow): Pick<Goal, "listeners"> {
    if (given === undefined) return {};
    const { settings: listeners, problems } = readListenerSettings(given);
    const key = this.#settingsKey;
    for (const { setting, why } of problems) {
      this.#problems.push({ key, problem: why });
      if (trial?.target == null) continue;
      this.#failed = { order: trial.order, configuration: trial.target.id, why, setting };
    }
    return { listeners };
  }

  get #settingsKey(): string {
    return this.#rows.settings?.[0] ?? "settings";
  }

  /** @param trial of what is tried here: one that this version cannot read has failed */
  #read(rows: readonly ProfileRow[], trial?: RolloutRow): Profiles {
    const read = new Map<string, ProfileSettings>();
    const keys = new Map([...this.#rows.profileRows()].map(([key, { hash }]) => [hash, key]));
    for (const row of rows) {
      const settings = readProfile(row);
      if (!("problem" in settings)) {
        if (profileName(row.hash) !== "default") {
          read.set(
            row.hash,
            withAuthorities(settings, (id) => this.#rows.authorities(id)),
          );
        }
        continue;
      }
      const { problem } = settings;
      this.#problems.push({ key: keys.get(row.hash) ?? `profiles.${row.hash}`, problem });
      if (trial?.target == null) continue;
      this.#failed = { order: trial.order, configuration: trial.target.id, why: problem, profile: row.hash };
    }
    return read;
  }

  #serves(goal: Goal, order: RolloutRow | undefined): boolean {
    const loaded = this.#loaded;
    if (loaded === null || !this.#hasListeners(goal.listeners)) return false;
    if (goal.exact === true && loaded.size !== goal.profiles.size) return false;
    for (const [name, settings] of goal.profiles) {
      if (JSON.stringify(loaded.get(name)) !== JSON.stringify(settings)) return false;
    }
    const used = this.#rows.usedProfiles();
    return !(order?.refused ?? []).some(
      ({ hash }) => loaded.has(hash) && !used.has(hash) && !goal.profiles.has(hash),
    );
  }

  async #reload(plan: NginxOptions, goal: Goal, order: RolloutRow | undefined): Promise<void> {
    const { log, signal } = this.#kit;
    const profiles = new Map(goal.profiles);
    const loaded = this.#loaded ?? (await this.#ports.kept());
    if (goal.exact !== true) {
      // Routes that nginx has serve on; whoever waits for the new profiles may be what frees these.
      const used = this.#rows.usedProfiles();
      for (const [name, settings] of loaded)
        if (used.has(name) && !profiles.has(name)) profiles.set(name, settings);
    }
    // No route may come to one that goes: it waits until nginx has it again.
    this.#rows.setProfiles(new Set(["default", ...[...loaded.keys()].filter((name) => profiles.has(name))]));
    const listeners = goal.listeners ?? this.#listeners;
    const hash = this.#hashOf(plan, profiles, listeners);
    const before = await this.#ports.trial.load();
    // Where that was begun and not ended, nobody knows yet whether it does.
    if (hash === this.#host.state?.config && before === null) {
      this.#loaded = profiles;
      this.#listeners = listeners;
      return;
    }
    const { clock } = this.#kit;
    const refused = this.#refused;
    if (hash === refused?.hash && clock.monotonic() - refused.at < RETRY_REFUSED_MS) {
      return this.#gaveUp(goal, order, refused.outcome);
    }
    const fresh = [...profiles.keys()].filter((name) => this.#loaded?.has(name) !== true);
    const begun = before?.configuration === goal.configuration ? before.begun + 1 : 1;
    await this.#ports.trial.save({ configuration: goal.configuration, begun });
    let outcome: ReloadOutcome;
    try {
      outcome = await this.#ports.reload({ ...plan, listeners }, profiles, {
        probes: fresh,
        probationMs: goal.first === true ? PROBATION_MS : 0,
      });
    } catch (error) {
      // What ends this process by its own will is no fault of the configuration.
      await this.#ports.trial.save({ configuration: goal.configuration, begun: begun - 1 });
      throw error;
    }
    await this.#ports.trial.save(null);
    const changed = changedNames(this.#listeners, listeners);
    this.#note(outcome, profiles, changed);
    if (outcome.ok) {
      const forSettings = changed.length > 0 && fresh.length === 0;
      this.#metrics.reloaded(forSettings ? "settings" : "profiles");
      log.info({ profiles: profiles.size, settings: changed }, "nginx reloaded");
      this.#loaded = profiles;
      this.#listeners = listeners;
      this.#refused = undefined;
    } else {
      this.#metrics.reloaded("rolled_back");
      log.error({ reason: outcome.why }, "nginx keeps its configuration: the new one would not do");
      this.#refused = { hash, at: clock.monotonic(), outcome };
      this.#gaveUp(goal, order, outcome);
    }
    signal.throwIfAborted();
    await this.#host.refresh();
    if (!outcome.ok) this.#wake.notify();
  }

  #note(outcome: ReloadOutcome, profiles: Profiles, settings: readonly string[]): void {
    const { reloads, takenBack = 0, recentReloads = [] } = this.reloads;
    const before: ReadonlyMap<string, unknown> = this.#loaded ?? new Map();
    const fresh = [...profiles.keys()].filter((hash) => !before.has(hash));
    const gone = [...before.keys()].filter((hash) => !profiles.has(hash)).length;
    const asked = namesOf(this.#rows.objectsWith(new Set(fresh)));
    const other = settings.length === 0 ? "" : `; settings: ${settings.join(", ")}`;
    const why = outcome.ok ? `profiles: ${fresh.length} new${asked}, ${gone} gone${other}` : outcome.why;
    const last = { at: this.#kit.clock.now(), ok: outcome.ok, why: why.slice(0, MAX_LAST_WHY) };
    this.reloads = {
      reloads: reloads + 1,
      ...(outcome.ok && takenBack === 0 ? {} : { takenBack: takenBack + (outcome.ok ? 0 : 1) }),
      lastReload: last,
      recentReloads: [last, ...recentReloads].slice(0, MAX_RECENT),
    };
  }

  #gaveUp(goal: Goal, order: RolloutRow | undefined, { why, profile }: Failed): void {
    const { configuration, profiles } = goal;
    const others = !this.#hasListeners(goal.listeners);
    if (others) this.#problems.push({ key: this.#settingsKey, problem: `nginx.conf with it: ${why}` });
    for (const [key, row] of this.#rows.profileRows()) {
      const tried = others
        ? profiles.has(row.hash) && this.#loaded?.has(row.hash) !== true
        : profiles.has(row.hash);
      const concerned = profile === undefined ? tried : row.hash === profile;
      if (concerned) this.#problems.push({ key, problem: `nginx.conf with it: ${why}` });
    }
    if (order === undefined) return;
    this.#failed = {
      order: order.order,
      configuration,
      why: why.slice(0, MAX_WHY),
      ...(profile === undefined ? {} : { profile }),
    };
  }

  /** @param listeners absent: whatever it has will do */
  #hasListeners(listeners: Listeners | undefined): boolean {
    return listeners === undefined || changedNames(this.#listeners, listeners).length === 0;
  }

  #has(hash: string): boolean {
    return profileName(hash) === "default" || this.#loaded?.has(hash) === true;
  }

  #tell(order: RolloutRow): void {
    const runs = [order.target, order.proven].find(
      (each) =>
        each?.profiles.every(({ hash }) => this.#has(hash)) &&
        this.#hasListeners(each.settings as Listeners | undefined),
    );
    const failed = this.#failed;
    this.#report = {
      order: order.order,
      runs: runs?.id ?? "",
      settings: true,
      ...(failed === undefined
        ? {}
        : {
            failed: {
              configuration: failed.configuration,
              why: failed.why,
              ...(failed.profile === undefined ? {} : { profile: failed.profile }),
              ...(failed.setting === undefined ? {} : { setting: failed.setting }),
            },
          }),
    };
  }
}

/** ` (MultiClusterIngress shop/web)`; nothing where nobody is known to have asked. */
function namesOf(objects: readonly string[]): string {
  if (objects.length === 0) return "";
  const more = objects.length > MAX_NAMED ? ` and ${objects.length - MAX_NAMED} more` : "";
  return ` (${objects.slice(0, MAX_NAMED).join(", ")}${more})`;
}

/** Names of settings that differ, sorted. */
function changedNames(before: Listeners, after: Listeners): string[] {
  const names = [...new Set([...Object.keys(before), ...Object.keys(after)])] as (keyof Listeners)[];
  return names.filter((name) => before[name] !== after[name]).sort();
}

/** What failed under another order may do under this one, but for what ended the agent itself. */
function failureUnder<F extends { readonly order: string; readonly configuration: string }>(
  order: RolloutRow | undefined,
  failed: F | undefined,
): F | undefined {
  if (failed === undefined || order === undefined) return undefined;
  if (failed.order === order.order) return failed;
  return failed.order === "" && failed.configuration === order.target?.id
    ? { ...failed, order: order.order }
    : undefined;
}
