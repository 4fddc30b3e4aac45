import { runAggregator } from "@sluice/aggregator";
import { createBus } from "@sluice/bus/testing";
import { runConfigRenderer } from "@sluice/config-renderer";
import { fleetTable, intentsTable, plainKeys, proxiesTable } from "@sluice/contracts";
import { resources } from "@sluice/kube";
import { runMemberWatcher } from "@sluice/member-watcher";
import { runProxyAgent } from "@sluice/proxy-agent";
import { createKit, type Kit, type Logger, silentLogger } from "@sluice/service-kit";
import { Orders as GatewayOrders, OrderBook } from "@sluice/topology-gateway/testing";
import type { EventTrace } from "./event-trace.ts";
import { foreignWrite } from "./foreign-write.ts";
import { NginxChecks } from "./nginx-checks.ts";
import { simNginxPlan } from "./nginx-plan.ts";
import { type Gateway, Operator } from "./operator.ts";
import { Orders } from "./ordered.ts";
import { runReader } from "./reader.ts";
import { SeededRandom } from "./seeded-random.ts";
import { SimBus } from "./sim-bus.ts";
import { SimCluster } from "./sim-cluster.ts";
import { HOST, SimHub, TUNED_HOST } from "./sim-hub.ts";
import { type ApiLink, SimKubeClient } from "./sim-kube-client.ts";
import { SimMember, type SliceTeller } from "./sim-member.ts";
import { SimNginx } from "./sim-nginx.ts";
import { SimProcess } from "./sim-process.ts";
import { type BusFaults, SimStore } from "./sim-store.ts";
import type { Step } from "./steps.ts";
import { APIS, type Crew, MEMBERS, namesOf, ROLES, type Role, roleOf, SERVICES } from "./topology.ts";
import { Truth } from "./truth.ts";
import type { Violation } from "./violation.ts";
import type { VirtualTime } from "./virtual-time.ts";

/** A process as it is seen from outside: it may live several times, and what is wrong with its links stays. */
interface Slot {
  readonly name: string;
  readonly bus: BusFaults;
  readonly apis: Map<string, ApiLink>;
  /** Faults that keep it down, or frozen, now. */
  down: number;
  frozen: number;
  /** When it was woken last, ms of virtual time. */
  thawedAt: number;
  /** Something was wrong with it, or with its link to the bus, until then, ms of virtual time. */
  hinderedUntil: number;
  offsetMs: number;
  /** Of a watcher: into how many shards it was told to cut members. */
  readonly shards: Map<string, number>;
  lives: number;
  life: Life | null;
}

interface Life {
  readonly process: SimProcess;
  readonly store: SimStore;
  readonly clients: readonly SimKubeClient[];
  readonly startedAt: number;
  stopping: boolean;
  ended: boolean;
  /** Of a gateway: what takes people's orders. */
  gateway: Gateway | null;
}

/** How long a process that was told to stop may take, ms. */
const STOP_MS = 10_000;
const LOOK_MS = 500;
const LATE_MS = [200, 9000] as const;
/** Faults behind which what was sent may land in another life of the servers. */
const MAY_LAND_LATE: ReadonlySet<keyof BusFaults> = new Set(["cut", "late", "repeat"]);
/** By then every process that nothing hinders is connected again, and has said what it knows, ms. */
const CONNECTED_MS = 1500;

function agentOf(nginx: string): string {
  return nginx.replace("nginx", "agent");
}

export interface WorldOptions {
  readonly seed: string;
  readonly crew: Crew;
  readonly trace: EventTrace;
  /** What the processes log; default: nothing. */
  readonly log?: Logger;
}

/** Everything that a schedule happens to: members, hub, bus, the processes of Sluice and the nginxes. */
export class World {
  readonly time: VirtualTime;
  readonly trace: EventTrace;
  readonly truth = new Truth();
  /** The same, but peers to which no route leads are nobody's. */
  readonly #routed = new Truth();
  readonly #orders = new Orders();
  readonly #operator: Operator;
  readonly #hub: SimHub;
  readonly checks: NginxChecks;
  readonly violations: Violation[] = [];
  readonly #seed: string;
  readonly #log: Logger;
  readonly #bus: SimBus;
  readonly #clusters = new Map<string, SimCluster>();
  readonly #members = new Map<string, SimMember>();
  readonly #nginxes = new Map<string, SimNginx>();
  readonly #slots = new Map<string, Slot>();
  #busFaults = 0;
  /** When the bus came back last, or had a leader again, ms of virtual time. */
  #busBackAt = 0;
  /** An order may have been sent in one life of the servers, and land in the next. */
  #lateOrders = false;
  #over = false;
  #sleptMs = 0;

  constructor(time: VirtualTime, { seed, crew, trace, log = silentLogger }: WorldOptions) {
    this.time = time;
    this.#seed = seed;
    this.trace = trace;
    this.#log = log;
    this.checks = new NginxChecks(this.#routed, this.#orders, this.time);
    this.#bus = new SimBus(this.time, this.trace, seed);
    for (const name of APIS) this.#clusters.set(name, new SimCluster(name, this.time, this.trace));
    for (const name of MEMBERS) {
      this.#cluster(name).onListed = (type, forMs) => {
        if (type !== resources.endpointSlice) return;
        for (const truth of [this.truth, this.#routed]) truth.listed(name, this.time.now + forMs);
      };
    }
    this.#bus.onStored.add((table, key) => {
      if (table === intentsTable.name) this.#readOrder(key);
    });
    this.#operator = new Operator(this.time, () =>
      [...this.#slots.values()].flatMap(({ life }) => life?.gateway ?? []),
    );
    this.#hub = new SimHub(this.#cluster("hub"));
    const tell: SliceTeller = (slice, addresses, visible) => {
      this.truth.set(this.time.now, slice, addresses, visible);
      this.#routed.set(this.time.now, slice, addresses, visible && this.#hub.routes(slice.service));
    };
    for (const [i, name] of MEMBERS.entries()) {
      const member = new SimMember(this.#cluster(name), i + 1, tell);
      for (const service of SERVICES) member.offer(service, [2, 1]);
      this.#members.set(name, member);
    }
    for (let i = 1; i <= crew.agent; i++) {
      const name = `nginx-${i}`;
      this.#nginxes.set(name, new SimNginx(name, this.time, this.trace, this.checks));
    }
    for (const name of namesOf(crew)) {
      const slot: Slot = {
        name,
        bus: { cut: 0, slowMs: 0, lostAcks: 0, late: 0, lateMs: LATE_MS, repeat: 0 },
        apis: new Map(APIS.map((api) => [api, { cut: 0 }])),
        down: 0,
        frozen: 0,
        thawedAt: 0,
        hinderedUntil: 0,
        offsetMs: 0,
        shards: new Map(),
        lives: 0,
        life: null,
      };
      this.#slots.set(name, slot);
      this.#start(slot);
    }
    this.#lookOn();
  }

  /** How long the machine slept so far, ms: steps behind it come so much later. */
  get sleptMs(): number {
    return this.#sleptMs;
  }

  /** Now and then: what nginx must have again after a start, if its agent could work. */
  #lookOn(): void {
    this.time.after(LOOK_MS, () => {
      for (const nginx of this.#nginxes.values()) {
        const slot = this.#slot(agentOf(nginx.name));
        const since = this.time.now - (slot.life?.startedAt ?? this.time.now);
        const away = slot.frozen > 0 || slot.life?.stopping === true;
        if (away || since < LOOK_MS) this.checks.hindered(nginx);
      }
      this.checks.look();
      if (!this.#over) this.#lookOn();
    });
  }

  #cluster(name: string): SimCluster {
    const cluster = this.#clusters.get(name);
    if (cluster === undefined) throw new RangeError(`there is no cluster ${name}`);
    return cluster;
  }

  #member(name: string): SimMember {
    const member = this.#members.get(name);
    if (member === undefined) throw new RangeError(`there is no member ${name}`);
    return member;
  }

  #slot(name: string): Slot {
    const slot = this.#slots.get(name);
    if (slot === undefined) throw new RangeError(`there is no process ${name}`);
    return slot;
  }

  // --- processes ----------------------------------------------------------------------------------------------------

  #start(slot: Slot): void {
    if (this.#over || slot.down > 0 || slot.life !== null) return;
    const seed = `${this.#seed}/${slot.name}/${++slot.lives}`;
    const process = new SimProcess(slot.name, seed, this.time, slot.offsetMs);
    if (slot.frozen > 0) process.freeze();
    const role = ROLES[roleOf(slot.name)];
    const kit = createKit({
      service: role,
      signal: process.stop.signal,
      clock: process.clock,
      random: process.random,
      log: this.#log.child({ process: slot.name }),
    });
    const store = new SimStore(this.#bus, process, slot.bus, new SeededRandom(`${seed}/bus`));
    const apis = apisOf(roleOf(slot.name));
    const clients = apis.map(
      (api) =>
        new SimKubeClient(
          this.#cluster(api),
          process,
          slot.apis.get(api) ?? { cut: 0 },
          new SeededRandom(`${seed}/${api}`),
        ),
    );
    const life: Life = {
      process,
      store,
      clients,
      startedAt: this.time.now,
      stopping: false,
      ended: false,
      gateway: null,
    };
    slot.life = life;
    slot.hinderedUntil = this.time.now;
    this.trace.note(this.time.now, `${slot.name} started`);
    const ended = (error?: unknown) => {
      life.ended = true;
      if (!process.alive || life.stopping) return;
      const why = error instanceof Error ? (error.stack ?? error.message) : String(error);
      this.#violate("ended-by-itself", `${slot.name}: ${why}`);
    };
    this.#run(slot, kit, store, clients).then(() => ended("it resolved"), ended);
  }

  async #run(slot: Slot, kit: Kit, store: SimStore, clients: readonly SimKubeClient[]): Promise<void> {
    const role = roleOf(slot.name);
    const end = new AbortController();
    const bus = createBus(store, ROLES[role], kit, end);
    const [hub] = clients;
    switch (role) {
      case "watcher":
        // Nobody can be connected to here: a list that takes most peers away passes at once.
        await runMemberWatcher({ bus, members: clients, answers: async () => false }, kit, {
          shards: slot.shards,
        });
        break;
      case "aggregator":
        await runAggregator({ bus, hub: hub! }, { members: MEMBERS, refused: [], peers: new Map() }, kit);
        break;
      case "renderer":
        await runConfigRenderer(
          { bus, hub: hub! },
          {
            fleet: "default",
            ingressClasses: ["nginx"],
            watchWithoutClass: false,
            publishAddresses: ["192.0.2.10"],
            peers: {},
          },
          kit,
        );
        break;
      case "reader":
        await runReader(
          {
            name: slot.name,
            store,
            truth: this.truth,
            now: () => this.time.now,
            violate: (name, what) => this.#violate(name, what),
          },
          kit,
        );
        break;
      case "gateway": {
        const book = new OrderBook();
        const orders = new GatewayOrders(bus, kit, book);
        slot.life!.gateway = {
          put: (intent) => orders.put(intent),
          takeBack: (order) => orders.takeBack(order),
          knows: (key) => {
            const { intent, generation } = book.newest(key);
            return generation === 0 ? null : intent !== undefined;
          },
        };
        await Promise.all([orders.done, bus.join()]);
        break;
      }
      case "agent": {
        const nginx = this.#nginxes.get(slot.name.replace("agent", "nginx"))!;
        const proxies = bus.writer(proxiesTable);
        const process = slot.life!.process;
        await Promise.all([
          runProxyAgent(
            {
              fleet: (options) => bus.view(fleetTable, options),
              proxies,
              nginx: nginx.client(process),
              lastGood: nginx.lastGood(process),
              plan: async () => simNginxPlan,
              ...nginx.configuration(process),
            },
            { fleet: "default", proxy: slot.name, peers: new Map(), refused: [] },
            kit,
          ),
          bus.join(),
          proxies.done,
        ]);
      }
    }
    await bus.close();
  }

  #crash(slot: Slot): void {
    const { life } = slot;
    if (life === null) return;
    slot.life = null;
    if (life.gateway !== null) this.#operator.gatewayEnded();
    this.trace.note(this.time.now, `${slot.name} ended`);
    life.process.crash();
    life.store.abandon();
    for (const client of life.clients) client.abandon();
  }

  #violate(name: Violation["name"], what: string): void {
    this.violations.push({ name, at: this.time.now, what });
  }

  // --- steps --------------------------------------------------------------------------------------------------------

  /** Does a step now; what lasts for a while is undone by itself. */
  do(step: Step): void {
    this.trace.note(this.time.now, `step ${step.do}`);
    const until = (ms: number, undo: () => void) => void this.time.after(ms, undo);
    if ("api" in step) {
      const hinderedUntil = this.time.now + ("forMs" in step ? step.forMs : 0);
      for (const truth of [this.truth, this.#routed]) truth.hinder(step.api, hinderedUntil);
    }
    switch (step.do) {
      case "crash": {
        const slot = this.#slot(step.process);
        this.#crash(slot);
        this.#down(slot, step.forMs);
        return;
      }
      case "stop":
        return this.#stop(this.#slot(step.process), step.forMs);
      case "freeze": {
        const slot = this.#slot(step.process);
        slot.frozen++;
        slot.life?.process.freeze();
        return until(step.forMs, () => {
          slot.hinderedUntil = this.time.now;
          slot.thawedAt = this.time.now;
          if (--slot.frozen === 0) slot.life?.process.thaw();
        });
      }
      case "clock": {
        const slot = this.#slot(step.process);
        slot.offsetMs += step.byMs;
        slot.life?.process.jump(step.byMs);
        return;
      }
      case "cut-bus":
        return this.#busFault(step.process, step.forMs, "cut", 1);
      case "slow-bus":
        return this.#busFault(step.process, step.forMs, "slowMs", step.byMs);
      case "lost-acks":
        return this.#busFault(step.process, step.forMs, "lostAcks", 1);
      case "late-writes":
        this.#slot(step.process).bus.lateMs = step.byMs ?? LATE_MS;
        return this.#busFault(step.process, step.forMs, "late", 1);
      case "repeat-writes":
        return this.#busFault(step.process, step.forMs, "repeat", 1);
      case "reset-consumer":
        this.#slot(step.process).hinderedUntil = this.time.now;
        return this.#slot(step.process).life?.store.resetOne();
      case "restart-bus":
        return this.#busAway(step.forMs, () => {});
      case "wipe-bus":
        return this.#busAway(step.forMs, () => {
          this.#bus.wipe();
          this.#readOrders();
        });
      case "back-up-bus":
        return this.#bus.backUp();
      case "restore-bus":
        return this.#busAway(step.forMs, () => {
          this.#bus.restore();
          this.#readOrders();
        });
      case "change-leader":
        this.#bus.loseLeader();
        return until(step.forMs, () => {
          this.#busBackAt = this.time.now;
          this.#bus.findLeader();
        });
      case "cut-api": {
        const slot = this.#slot(step.process);
        const link = slot.apis.get(step.api)!;
        link.cut++;
        return until(step.forMs, () => {
          link.cut--;
          for (const client of slot.life?.clients ?? []) if (client.name === step.api) client.linkChanged();
        });
      }
      case "api-down":
        this.#cluster(step.api).endWatches(new TypeError(`${step.api}: the connection was reset`));
        return this.#apiFault(step.api, step.forMs, "down");
      case "compact-api":
        return this.#cluster(step.api).compact();
      case "end-watches":
        return this.#cluster(step.api).endWatches(null);
      case "unauthorized":
        return this.#apiFault(step.api, step.forMs, "unauthorized");
      case "slow-lists":
        return this.#apiFault(step.api, step.forMs, "slowList");
      case "stuck-lists":
        return this.#apiFault(step.api, step.forMs, "stuckList");
      case "restart-nginx":
        return this.#nginxes.get(step.nginx)?.restart();
      case "replace-endpoint":
        return this.#member(step.member).replaceOne(step.service, `${step.service}-${step.slice}`);
      case "roll-out":
        return this.#member(step.member).scale(step.service, `${step.service}-${step.slice}`, step.size);
      case "remove-slice":
        return this.#member(step.member).removeSlice(step.service, `${step.service}-${step.slice}`);
      case "export":
        return this.#member(step.member).export(step.service, step.on);
      case "serve":
        return this.#member(step.member).serve(step.service, step.on);
      case "drain":
      case "unjoin":
        return this.#operator.order(step.do, step.member, step.on);
      case "cut-member": {
        const slot = this.#slot(step.process);
        slot.shards.set(step.member, step.shards);
        return this.#stop(slot, step.forMs);
      }
      case "import":
        this.#hub.import(step.service, step.on);
        return this.#routesChanged();
      case "ingress":
        this.#hub.ingress(step.services);
        return this.#routesChanged();
      case "tune":
        this.checks.asked();
        return this.#hub.tune(step.seconds);
      case "bad-record":
        if (this.#bus.up) this.#bus.put(step.table, step.key, Buffer.from(step.value), null);
        return;
      case "bad-slice":
        return this.#member(step.member).plantNonsense(step.service);
      case "sleep-all":
        this.#sleptMs += step.forMs;
        return this.time.skip(step.forMs);
    }
  }

  #down(slot: Slot, forMs: number): void {
    slot.down++;
    this.time.after(forMs, () => {
      slot.down--;
      this.#start(slot);
    });
  }

  #stop(slot: Slot, forMs: number): void {
    const { life } = slot;
    if (life === null) return this.#down(slot, forMs);
    life.stopping = true;
    life.process.deliver(() => life.process.stop.abort(new Error("SIGTERM")));
    slot.down++;
    const toldAt = this.time.now;
    const look = () => {
      // It hears of it when it wakes.
      const overdue = this.time.now - Math.max(toldAt, slot.thawedAt) >= STOP_MS;
      if (slot.life === life && !life.ended && !overdue) return void this.time.after(20, look);
      // A frozen process cannot stop; whoever supervises it kills it.
      if (slot.life === life && !life.ended && slot.frozen === 0) {
        this.#violate("does-not-stop", `${slot.name} still runs`);
      }
      if (slot.life === life) this.#crash(slot);
      this.time.after(toldAt + forMs - this.time.now, () => {
        slot.down--;
        this.#start(slot);
      });
    };
    look();
  }

  #busFault(process: string, forMs: number, fault: Exclude<keyof BusFaults, "lateMs">, by: number): void {
    const slot = this.#slot(process);
    slot.bus[fault] += by;
    if (roleOf(process) === "gateway" && MAY_LAND_LATE.has(fault)) this.#lateOrders = true;
    slot.life?.store.faultsChanged();
    this.time.after(forMs, () => {
      slot.bus[fault] -= by;
      slot.hinderedUntil = this.time.now;
      slot.life?.store.faultsChanged();
    });
  }

  #apiFault(api: string, forMs: number, fault: keyof SimCluster["faults"]): void {
    const { faults } = this.#cluster(api);
    faults[fault]++;
    this.time.after(forMs, () => {
      faults[fault]--;
    });
  }

  #busAway(forMs: number, whileDown: () => void): void {
    this.#busFaults++;
    this.#bus.stop();
    whileDown();
    this.time.after(forMs, () => {
      if (--this.#busFaults > 0) return;
      this.#busBackAt = this.time.now;
      this.#bus.start();
    });
  }

  // --- people's orders ----------------------------------------------------------------------------------------------

  #routesChanged(): void {
    for (const member of this.#members.values()) for (const service of SERVICES) member.tell(service);
  }

  /** The table has another order than before: from here on it may be followed. */
  #readOrder(key: string): void {
    const [verb, cluster = ""] = key.split(".");
    const member = this.#members.get(cluster);
    if (member === undefined || (verb !== "drain" && verb !== "unjoin")) return;
    const stands = this.#standsAtBus(key);
    this.#orders.set(key, stands);
    if (verb === "unjoin") member.join(!stands);
    const better = this.#operator.stored(key, stands);
    if (better !== null) this.#cameBack(key, stands, better);
  }

  /**
   * People were told otherwise, and the table has another word. Within one life of the storage that must never be. Later,
   * not while a gateway that knows better is there.
   */
  #cameBack(key: string, stands: boolean, better: readonly Gateway[]): void {
    const says = `${key} ${stands ? "stands" : "is taken back"}, and people were told otherwise`;
    if (this.#orders.lostAt === Number.NEGATIVE_INFINITY) return this.#violate("order-came-back", says);
    // What was on its way when the storage was lost may land before anybody is connected again.
    if (this.#lateOrders && this.time.now - this.#busBackAt < CONNECTED_MS) return;
    for (const slot of this.#slots.values()) {
      const { life } = slot;
      if (life === null || life.gateway === null || !better.includes(life.gateway)) continue;
      const hindered =
        slot.frozen > 0 ||
        life.stopping ||
        Object.values(slot.bus).some((n) => typeof n === "number" && n > 0);
      const since = slot.hinderedUntil > this.#busBackAt ? this.time.now - slot.hinderedUntil : CONNECTED_MS;
      if (hindered || since < CONNECTED_MS) continue;
      return this.#violate("order-came-back", `${says}; ${slot.name} knows better`);
    }
  }

  /** The storage is another: orders may be lost, or such that were taken back be there again. */
  #readOrders(): void {
    this.#orders.lostAt = this.time.now;
    for (const cluster of MEMBERS) {
      const [drain, unjoin] = [plainKeys.intent("drain", cluster), plainKeys.intent("unjoin", cluster)];
      this.#orders.set(drain, this.#standsAtBus(drain));
      // An order that is lost was not taken back: whoever has followed it need not hurry.
      if (this.#standsAtBus(unjoin)) {
        this.#orders.set(unjoin, true);
        this.#member(cluster).join(false);
      }
    }
    this.#operator.storageLost((key) => this.#standsAtBus(key));
  }

  #standsAtBus(key: string): boolean {
    const entry = this.#bus.get(intentsTable.name, key);
    if (entry === null) return false;
    return (JSON.parse(Buffer.from(entry.value).toString()) as { deleted?: true }).deleted !== true;
  }

  /** Writes of Sluice's into an API that are none of its business. */
  foreignWrites(): string[] {
    return [...this.#clusters.values()].flatMap(({ audit }) =>
      audit.flatMap((line) => foreignWrite(line) ?? []),
    );
  }

  /** Writes into fenced tables so far: where everything is right there are no more. */
  get fencedWrites(): number {
    return this.#bus.fencedWrites;
  }

  // --- the end ------------------------------------------------------------------------------------------------------

  /** What every nginx should have and has not, or has and should not. */
  differences(): string[] {
    const paths = this.#hub.wantedPaths().sort().join();
    return [
      ...this.#operator.differences((key) => this.#standsAtBus(key)),
      ...[...this.#nginxes.values()].flatMap((nginx) => {
        const has = nginx.pathsOf(HOST).sort().join();
        const routes = has === paths ? [] : [`${nginx.name}, ${HOST}: has [${has}], the hub says [${paths}]`];
        return [...routes, ...this.#tuning(nginx), ...this.checks.differences(nginx)];
      }),
      ...MEMBERS.filter((name) => !this.#member(name).joined).flatMap((name) => this.#leftovers(name)),
    ];
  }

  /** The profile that requests need which are not as all others. */
  #tuning(nginx: SimNginx): string[] {
    const has = nginx.profileOf(TUNED_HOST);
    const wanted = this.#hub.wantedProfile();
    const differences =
      has === wanted ? [] : [`${nginx.name}, ${TUNED_HOST}: has profile ${has}, not ${wanted}`];
    return nginx.broken ? [...differences, `${nginx.name} still runs with what it cannot do`] : differences;
  }

  /** What the bus still has of a cluster that is gone for good. */
  #leftovers(cluster: string): string[] {
    const kept = (table: string, concerns: (key: string) => boolean) =>
      [...this.#bus.entries(table, 0)]
        // Planted nonsense is nobody's record.
        .filter(({ key, value }) => concerns(key) && Buffer.from(value).includes('"data":{'))
        .map(({ key }) => `${table} ${key} is there, and ${cluster} is unjoined`);
    return [
      ...kept("slices", (key) => key.startsWith(`${cluster}.`) && !key.startsWith(`${cluster}._meta`)),
      ...kept("topology", (key) => key.endsWith(`.${cluster}`)),
      ...kept("clusters", (key) => key === cluster),
    ];
  }

  /** Ends everything, so that nothing of this world is kept in memory. */
  async end(): Promise<void> {
    this.#over = true;
    const lives = [...this.#slots.values()].flatMap(({ life }) => life ?? []);
    for (const life of lives) {
      life.stopping = true;
      life.process.stop.abort(new Error("the schedule is over"));
    }
    const deadline = this.time.now + STOP_MS;
    while (this.time.now < deadline && lives.some(({ ended }) => !ended))
      await this.time.run(this.time.now + 50);
    for (const slot of this.#slots.values()) {
      if (slot.life !== null && !slot.life.ended) this.#violate("does-not-stop", `${slot.name} still runs`);
      this.#crash(slot);
    }
  }
}

/** The APIs that a process talks to. */
function apisOf(role: Role): readonly string[] {
  if (role === "watcher") return MEMBERS;
  return role === "aggregator" || role === "renderer" ? ["hub"] : [];
}
