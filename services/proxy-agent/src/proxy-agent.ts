import type { TableView, ViewOptions } from "@sluice/bus";
import { encodeToken, type FleetValue, type ProxyRecord, plainKeys, type Trace } from "@sluice/contracts";
import { type Kit, slept } from "@sluice/service-kit";
import { AuthNames, type AuthNamesOptions } from "./auth-names.ts";
import { ActiveChecks, type CheckPorts } from "./checks/active-checks.ts";
import { DataPath } from "./data-path.ts";
import { FleetRows, type PlannedRow } from "./fleet-rows.ts";
import type { LastGoodCopy, LastGoodStore } from "./last-good.ts";
import type { NginxClient, NginxState } from "./nginx-client.ts";
import { NginxProfiles, type NginxProfilesHost, type NginxProfilesPorts } from "./nginx-profiles.ts";
import { type ObservePorts, observeNginx } from "./observe-nginx.ts";
import { ProxyMetrics } from "./proxy-metrics.ts";
import { type OpenSealed, SecretOpener } from "./secret-opener.ts";
import { Wake } from "./wake.ts";

export interface ProxyAgentPorts extends NginxProfilesPorts {
  /** `fleet`, as this agent's fleet sees it. */
  fleet(options: ViewOptions<FleetValue>): TableView<FleetValue>;
  /** `proxies`: newest wins. */
  readonly proxies: { set(key: string, record: ProxyRecord): void };
  readonly nginx: NginxClient;
  readonly lastGood: LastGoodStore;
  /** Asks name servers where services are that are asked of requests; see AuthNames. */
  readonly lookup?: AuthNamesOptions["lookup"];
  /** Absent: this proxy is given no secrets. */
  readonly open?: OpenSealed;
  /** Absent: nobody looks at nginx beyond what it says of its rows. */
  readonly observe?: ObservePorts;
  /** Absent: peers are not asked whether they serve. */
  readonly checks?: CheckPorts;
}

export interface ProxyAgentOptions {
  readonly fleet: string;
  readonly proxy: string;
  readonly peers: ReadonlyMap<string, readonly string[]>;
  readonly refused: readonly string[];
  /** Loopback ranges in which services may be that are asked of requests; absent: none. */
  readonly authAddresses?: readonly string[];
}

const HEARTBEAT_MS = 2000;
/** A record of `proxies` at most this often. */
const PUBLISH_MS = 1000;
/** The last good copy at most this often, which is what a crash of nginx and agent at once may lose; and never more than a twentieth of the time. */
const SAVE_MS = 200;
const SAVE_SHARE = 20;
const NGINX_POLL_MS = 50;
/** Whom checks ask is worked out anew at most this often. */
const CHECK_CHANGES_MS = 100;
const RETRY_REFUSED_MS = 10_000;
const MAX_PROBLEMS = 100;
/** Peers on hold that a record names; of a dead cluster they are many, and its verdict says the same. */
const MAX_EJECTED = 100;

/** Runs until the kit's signal aborts; nothing of it runs after that. */
export async function runProxyAgent(
  ports: ProxyAgentPorts,
  options: ProxyAgentOptions,
  kit: Kit,
): Promise<void> {
  await new ProxyAgent(ports, options, kit).run();
}

class ProxyAgent {
  readonly #ports: ProxyAgentPorts;
  readonly #options: ProxyAgentOptions;
  readonly #kit: Kit;
  readonly #rows: FleetRows;
  readonly #names: AuthNames;
  readonly #metrics: ProxyMetrics;
  readonly #dataPath = new DataPath();
  readonly #checks: ActiveChecks | null;
  readonly #part;
  readonly #traces = new Map<string, Trace>();
  readonly #apply = new Wake();
  readonly #profiles: NginxProfiles;
  readonly #save = new Wake();
  readonly #publish = new Wake();
  readonly #toCheck = new Wake();
  /** The nginx that has our rows; null: none, or one that is not known. */
  #instance: string | null = null;
  #state: NginxState | null = null;
  #nginxError: string | undefined;
  #source: ProxyRecord["source"] = "none";
  #appliedRevision = 0;
  #saved = false;
  /** Revision of `fleet` at which all of it was known; 0: it never was. */
  #wholeAt = 0;
  #view: TableView<FleetValue> | null = null;

  constructor(ports: ProxyAgentPorts, options: ProxyAgentOptions, kit: Kit) {
    this.#ports = ports;
    this.#options = options;
    this.#kit = kit;
    const secrets =
      ports.open === undefined
        ? null
        : new SecretOpener(ports.open, (id) => {
            this.#rows.secretOpened(id);
            this.#apply.notify();
          });
    const { peers, refused, authAddresses: allowed = [] } = options;
    this.#rows = new FleetRows({ peers, refused, ...(secrets === null ? {} : { secrets }) });
    this.#names = new AuthNames({ allowed, refused, lookup: ports.lookup }, kit, () => {
      this.#saved = false;
      this.#apply.notify();
    });
    this.#metrics = new ProxyMetrics(kit.metrics, options, kit.clock);
    this.#metrics.certificates(() => this.#rows.certificateEnds());
    this.#metrics.dashboard.certificates(() => this.#rows.expiries());
    this.#checks =
      ports.checks === undefined ? null : new ActiveChecks(ports.checks, kit, () => this.#instance);
    this.#part = { scope: options.fleet, shard: "" };
    this.#profiles = new NginxProfiles(ports, this.#profilesHost(), this.#rows, this.#metrics, kit);
  }

  #profilesHost(): NginxProfilesHost {
    const agent = this;
    return {
      proxy: this.#options.proxy,
      get state() {
        return agent.#state;
      },
      get knowsAll() {
        return agent.#knowsAll;
      },
      async refresh() {
        agent.#state = await agent.#ports.nginx.state(agent.#kit.signal, true);
      },
      changed() {
        agent.#apply.notify();
        agent.#publish.notify();
      },
    };
  }

  async run(): Promise<void> {
    const { health, log } = this.#kit;
    health.set("nginx", "it has not answered yet");
    health.set("fleet", "no rows yet: neither from the bus nor from a last good copy");
    const copy = await this.#ports.lastGood.load();
    const known = [...copy.entries];
    this.#wholeAt = copy.wholeAt;
    for (const { key, value, row } of known) {
      this.#rows.remember(key, value, row);
      this.#names.set(key, value);
    }
    for (const row of copy.names ?? []) this.#names.remember(row);
    if (known.length > 0) {
      this.#source = "last-good";
      log.info({ rows: known.length }, "starting from the last good copy");
    }
    this.#ports.nginx.onClose(() => {
      // Maybe a reload, maybe its end: asked at once instead of at the next heartbeat.
      this.#instance = null;
      this.#apply.notify();
    });
    const view = this.#ports.fleet({
      filter: `${encodeToken(this.#options.fleet)}.>`,
      initial: known.map(({ key, value }) => [key, value] as const),
      wholeAt: copy.wholeAt,
      onChange: (key, value, { trace }) => this.#changed(key, value, trace),
      onSettled: () => {
        this.#source = "bus";
        this.#settleRows();
        this.#apply.notify();
        this.#profiles.notify();
      },
      onReadable: () => {
        this.#settleRows();
        this.#apply.notify();
      },
    });
    this.#view = view;
    this.#profiles.notify();
    this.#whenDelivered(view).catch((err: unknown) =>
      log.debug({ err }, "stopped before the first snapshot"),
    );
    await Promise.all([
      this.#applyLoop(),
      this.#profiles.run(),
      this.#saveLoop(),
      this.#publishLoop(),
      this.#heartbeat(),
      this.#names.run(),
      this.#checks?.run(),
      this.#observe(),
      this.#checkLoop(),
      view.done,
    ]);
    await this.#saveCopy();
  }

  /**
   * The bus's rows count from here on, settled or not: a part that is not settled only leaves open what is no longer
   * there, and one member that is away may keep it so for days.
   */
  async #whenDelivered(view: TableView<FleetValue>): Promise<void> {
    const { signal } = this.#kit;
    const claimed = () => view.parts().length > 0 && this.#rows.size > 0;
    await view.caughtUp(signal);
    await view.when(claimed, signal);
    this.#source = "bus";
    this.#apply.notify();
  }

  /** What nginx has and nobody wants may go, unless a row that cannot be read may be about it. */
  #settleRows(): void {
    const view = this.#view;
    if (this.#knowsAll) this.#rows.settle((key) => view?.isDoubtful(key) === true);
  }

  /** What the table does not hold is gone. */
  get #knowsAll(): boolean {
    return this.#view?.isSettled(this.#part) === true && this.#view.unreadable.size === 0;
  }

  #changed(key: string, value: FleetValue | undefined, trace: Trace | undefined): void {
    this.#rows.set(key, value);
    this.#names.set(key, value);
    if (trace !== undefined) this.#traces.set(key, trace);
    const kind = key.split(".")[1];
    // Secrets: who signs peers' certificates stands in files beside nginx.conf.
    if (kind === "profiles" || kind === "rollout" || kind === "secrets" || kind === "settings")
      this.#profiles.notify();
    // A check is nothing that nginx has.
    if (kind === "upstreams") this.#toCheck.notify();
    this.#apply.notify();
  }

  // --- rows into nginx ----------------------------------------------------------------------------------------------

  async #applyLoop(): Promise<void> {
    const { signal, clock, log } = this.#kit;
    let told = false;
    while (!signal.aborted) {
      try {
        if (this.#instance === null) await this.#meet();
        told = false;
        await this.#applyNames();
        await this.#applyAll();
        await this.#apply.wait(signal);
      } catch (err) {
        if (signal.aborted) return;
        this.#instance = null;
        this.#nginxDown(err);
        if (!told) log.warn({ err }, "nginx does not answer; trying again");
        told = true;
        await slept(clock, NGINX_POLL_MS, signal);
      }
    }
  }

  async #meet(): Promise<void> {
    const { nginx } = this.#ports;
    const { signal, log, health } = this.#kit;
    const before = this.#state?.instance;
    const state = await nginx.state(signal);
    if (state.instance !== before) {
      const { keys } = await nginx.keys(signal);
      this.#rows.meet(keys);
      this.#names.meet();
      this.#settleRows();
      log.info({ instance: state.instance, seeded: state.seeded, rows: keys.length }, "met an nginx");
      this.#profiles.notify();
    }
    this.#state = state;
    this.#instance = state.instance;
    this.#nginxError = undefined;
    this.#checks?.notify();
    health.set("nginx", null);
    this.#publish.notify();
  }

  #nginxDown(error: unknown): void {
    this.#nginxError = error instanceof Error ? error.message : String(error);
    this.#kit.health.set("nginx", `it does not answer: ${this.#nginxError}`);
    this.#publish.notify();
  }

  async #applyNames(): Promise<void> {
    const rows = this.#names.pending();
    if (rows.length === 0) return;
    const answer = await this.#ports.nginx.apply(rows, this.#instance ?? "", this.#kit.signal);
    if (answer.restarted) this.#instance = null;
    else this.#names.told(rows);
  }

  async #applyAll(): Promise<void> {
    const { clock, signal } = this.#kit;
    let sent = false;
    let routed = false;
    for (;;) {
      const revision = this.#view?.revision ?? 0;
      const batch = this.#rows.next();
      if (batch.length === 0) {
        this.#caughtUp(revision, sent, routed);
        return;
      }
      if (!sent) await this.#kit.injectDelay();
      sent = true;
      routed ||= batch.some(({ key }) => key?.split(".")[1] !== "peers");
      const began = clock.monotonic();
      const answer = await this.#ports.nginx.apply(
        batch.map(({ row }) => row),
        this.#instance ?? "",
        signal,
      );
      if (answer.restarted) {
        this.#instance = null;
        return this.#apply.notify();
      }
      const refused = new Map(answer.refused.map(({ i, why }) => [i, why]));
      for (const [i, planned] of batch.entries()) this.#outcome(planned, refused.get(i));
      this.#metrics.applied((clock.monotonic() - began) / 1000, batch.length, refused.size);
    }
  }

  #outcome(planned: PlannedRow, refused: string | undefined): void {
    const { log, clock, metrics } = this.#kit;
    if (refused !== undefined) {
      this.#rows.refused(planned, refused);
      log.warn({ row: planned.name, reason: refused }, "nginx refused a row; the one it has serves on");
      return;
    }
    this.#rows.taken(planned);
    if (planned.key === null) return;
    const trace = this.#traces.get(planned.key);
    this.#traces.delete(planned.key);
    if (trace !== undefined) log.debug({ trace: trace.id, key: planned.key }, "applied");
    const began = trace?.at["watch"];
    if (began !== undefined) {
      metrics.stage.observe({ stage: "applied" }, Math.max(0, clock.now() - began) / 1000);
    }
  }

  /** nginx has all that can be given to it now. */
  #caughtUp(revision: number, sent: boolean, routed: boolean): void {
    if (this.#source === "bus") this.#appliedRevision = revision;
    const { counts, secretCount: secrets, refusedPeers } = this.#rows;
    this.#metrics.held({ ...counts, secrets }, refusedPeers);
    if (sent) {
      this.#saved = false;
      this.#toCheck.notify();
    }
    if (this.#rows.size > 0 && !this.#saved) this.#save.notify();
    else this.#settleHealth();
    this.#publish.notify();
    // A profile may have lost its last route, or a route may wait for one; endpoints need none.
    if (routed) this.#profiles.notify();
  }

  /** Who is to be asked follows from what nginx has, which may change a thousand times a second. */
  async #checkLoop(): Promise<void> {
    const { signal, clock } = this.#kit;
    if (this.#checks === null) return;
    this.#toCheck.notify();
    for (;;) {
      await this.#toCheck.wait(signal);
      if (signal.aborted) return;
      this.#checks.want(this.#rows.checkedPeers());
      if (!(await slept(clock, CHECK_CHANGES_MS, signal))) return;
    }
  }

  // --- the copy on disk, and what others are told --------------------------------------------------------------------

  async #saveLoop(): Promise<void> {
    const { signal, clock, log } = this.#kit;
    for (;;) {
      await this.#save.wait(signal);
      if (signal.aborted) return;
      const began = clock.monotonic();
      try {
        if (this.#rows.size > 0) await this.#ports.lastGood.save(this.#copy());
        this.#saved = true;
      } catch (err) {
        log.error(
          { err },
          "the last good copy cannot be written: a restart without the bus would lose changes",
        );
      }
      this.#settleHealth();
      const took = clock.monotonic() - began;
      if (!(await slept(clock, Math.max(SAVE_MS, took * SAVE_SHARE), signal))) return;
    }
  }

  #copy(): LastGoodCopy {
    if (this.#knowsAll) this.#wholeAt = this.#view?.revision ?? 0;
    return { entries: this.#rows.copy(), names: this.#names.rows(), wholeAt: this.#wholeAt };
  }

  async #saveCopy(): Promise<void> {
    // Nothing known is no news: an older copy is better.
    if (this.#rows.size === 0) return;
    try {
      await this.#ports.lastGood.save(this.#copy());
    } catch (err) {
      this.#kit.log.error(
        { err },
        "the last good copy cannot be written: a restart without the bus loses changes",
      );
    }
  }

  /** Ready once nginx has rows that may be believed, and they would survive. */
  #settleHealth(): void {
    if (this.#source !== "none") this.#kit.health.set("fleet", null);
  }

  async #publishLoop(): Promise<void> {
    const { signal, clock } = this.#kit;
    for (;;) {
      await this.#publish.wait(signal);
      if (signal.aborted) return;
      const { fleet, proxy } = this.#options;
      this.#ports.proxies.set(plainKeys.proxy(fleet, proxy), this.#record());
      if (!(await slept(clock, PUBLISH_MS, signal))) return;
    }
  }

  async #observe(): Promise<void> {
    const { observe } = this.#ports;
    if (observe !== undefined) await observeNginx(observe, this.#metrics, this.#kit);
  }

  async #heartbeat(): Promise<void> {
    const { signal, clock } = this.#kit;
    let retryAt = clock.monotonic() + RETRY_REFUSED_MS;
    while (await slept(clock, HEARTBEAT_MS, signal)) {
      if (this.#instance !== null) {
        try {
          const state = await this.#ports.nginx.state(signal);
          if (state.instance !== this.#instance) this.#instance = null;
          else this.#state = state;
          this.#metrics.nginx(state);
          this.#judgeClusters(state);
        } catch (err) {
          if (signal.aborted) return;
          this.#kit.log.debug({ err }, "nginx did not answer a heartbeat");
          this.#instance = null;
        }
      }
      this.#names.tick();
      if (clock.monotonic() >= retryAt) {
        retryAt = clock.monotonic() + RETRY_REFUSED_MS;
        this.#rows.retryRefused();
        this.#apply.notify();
        this.#profiles.notify();
      }
      if (this.#rows.copied > 0) {
        // What was in doubt when the table settled may be sure by now, and the same.
        this.#settleRows();
        this.#apply.notify();
      }
      if (this.#instance === null) this.#apply.notify();
      this.#publish.notify();
    }
  }

  #judgeClusters(state: NginxState): void {
    const { log, clock } = this.#kit;
    const changed = this.#dataPath.judge(this.#rows.peersByCluster(), state.held ?? [], clock.now());
    for (const { cluster, verdict } of changed) {
      if (verdict === "dead") log.warn({ cluster }, "no peer of this cluster answers any more");
      else log.info({ cluster }, "this cluster's peers answer again");
    }
  }

  #record(): ProxyRecord {
    const { fleet, proxy } = this.#options;
    const state = this.#state;
    const problems = [...this.#profiles.problems, ...this.#rows.problems, ...this.#names.problems];
    return {
      fleet,
      proxy,
      at: this.#kit.clock.now(),
      revision: this.#appliedRevision,
      source: this.#source,
      nginx: {
        up: this.#instance !== null,
        ...(state === null ? {} : { version: state.nginx }),
        ...this.#profiles.reloads,
        ...(this.#nginxError === undefined ? {} : { error: this.#nginxError }),
      },
      rows: { ...this.#rows.counts, profiles: this.#wantedProfilesCount() },
      problems: problems.slice(0, MAX_PROBLEMS),
      ejected: (state?.held ?? [])
        .filter(({ ended }) => ended !== true)
        .slice(0, MAX_EJECTED)
        .map(({ upstream, cluster, peer, until, checks }) => ({
          cluster,
          peer: peer === "" ? "*" : peer,
          until,
          upstream,
          ...(checks === true ? { by: "checks" as const } : {}),
        })),
      clusters: this.#dataPath.verdicts,
      ...(this.#profiles.report === undefined ? {} : { rollout: this.#profiles.report }),
      ...this.#profiles.addresses,
    };
  }

  #wantedProfilesCount(): number {
    return [...this.#rows.profileRows()].length;
  }
}
