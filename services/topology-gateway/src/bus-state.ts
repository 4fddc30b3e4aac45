import type { Bus, TableView } from "@sluice/bus";
import {
  type ClusterRecord,
  type ClusterSeen,
  clustersTable,
  decodeToken,
  type FleetValue,
  fleetTable,
  type IntentRecord,
  type MemberRecord,
  membersTable,
  type ProxyRecord,
  proxiesTable,
  sawCluster,
  type TopologyPeers,
  type TopologyService,
  type TopologyValue,
  topologyTable,
} from "@sluice/contracts";
import { type Kit, slept } from "@sluice/service-kit";
import type { GatewayState, Heard } from "./gateway-state.ts";
import type { Orders } from "./orders.ts";
import { WrongClocks } from "./wrong-clocks.ts";

const WATCH_MS = 250;

/** Follows the tables and keeps what the gateway answers from. */
export class BusState implements GatewayState {
  readonly members = new Map<string, Heard<MemberRecord>>();
  readonly clusters = new Map<string, ClusterSeen>();
  readonly services = new Map<string, TopologyService>();
  readonly peers = new Map<string, TopologyPeers>();
  readonly fleet = new Map<string, FleetValue>();
  readonly proxies = new Map<string, Heard<ProxyRecord>>();
  readonly intents: ReadonlyMap<string, IntentRecord>;
  readonly #revisions = new Map<string, number>();
  readonly #clusterKeys = new Map<string, string>();
  readonly #bus: Bus;
  readonly #kit: Kit;
  readonly #views: readonly Pick<TableView<unknown>, "caughtUp" | "done">[];
  readonly #fleetView: TableView<FleetValue>;
  awaySince: number | null;

  constructor(bus: Bus, orders: Orders, kit: Kit) {
    this.#bus = bus;
    this.#kit = kit;
    const now = () => kit.clock.now();
    this.awaySince = bus.connected ? null : now();
    const clocks = new WrongClocks(kit);
    const members = bus.view(membersTable, {
      onChange: (key, record, { storedAt }) => {
        if (record === undefined) {
          this.members.delete(key);
          clocks.forget(key);
          return;
        }
        const ahead = storedAt === undefined ? {} : { aheadMs: record.at - storedAt };
        this.members.set(key, { record, heardAt: now(), ...ahead });
        if (ahead.aheadMs !== undefined) clocks.heard(key, record, ahead.aheadMs);
      },
    });
    const proxies = bus.view(proxiesTable, {
      onChange: (key, record, { storedAt }) => {
        if (record === undefined) this.proxies.delete(key);
        else this.proxies.set(key, { record, heardAt: this.#heardProxy(key, storedAt ?? record.at) });
      },
    });
    const clusters = bus.view(clustersTable, {
      onChange: (key, record, { storedAt }) => this.#clusterChanged(key, record, storedAt),
    });
    const topology = bus.view(topologyTable, { onChange: (key, value) => this.#topologyChanged(key, value) });
    this.#fleetView = bus.view(fleetTable, {
      onChange: (key, row, { revision }) => this.#fleetChanged(key, row, revision),
    });
    this.intents = orders.standing;
    this.#views = [members, proxies, clusters, topology, this.#fleetView, orders];
  }

  get connected(): boolean {
    return this.#bus.connected;
  }

  get fleetRevisions(): ReadonlyMap<string, number> {
    return this.#revisions;
  }

  /** Resolves once the first snapshot of every table has been delivered. */
  async caughtUp(signal: AbortSignal): Promise<void> {
    await Promise.all(this.#views.map((view) => view.caughtUp(signal)));
  }

  /** Notices when the bus goes and comes; until the signal aborts. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock } = this.#kit;
    while (await slept(clock, WATCH_MS, signal)) {
      const away = this.awaySince !== null;
      if (!this.connected && !away) this.awaySince = clock.now();
      if (this.connected && away) this.#came();
    }
    await Promise.all(this.#views.map((view) => view.done));
  }

  /** Everybody gets the time that he could not be heard. */
  #came(): void {
    const now = this.#kit.clock.now();
    const missedMs = now - (this.awaySince ?? now);
    this.awaySince = null;
    for (const [name, seen] of this.clusters)
      this.clusters.set(name, { ...seen, heardAt: seen.heardAt + missedMs });
    for (const [key, heard] of this.proxies)
      this.proxies.set(key, { ...heard, heardAt: heard.heardAt + missedMs });
  }

  /** As for clusters: of the first record the server's time has to do, after that ours. */
  #heardProxy(key: string, storedAt: number): number {
    const now = this.#kit.clock.now();
    return this.proxies.has(key) ? now : Math.min(now, storedAt);
  }

  #clusterChanged(key: string, record: ClusterRecord | undefined, storedAt: number | undefined): void {
    if (record === undefined) {
      const name = this.#clusterKeys.get(key);
      if (name !== undefined) this.clusters.delete(name);
      this.#clusterKeys.delete(key);
      return;
    }
    this.#clusterKeys.set(key, record.cluster);
    this.clusters.set(
      record.cluster,
      sawCluster(this.clusters.get(record.cluster), record, this.#kit.clock.now(), storedAt),
    );
  }

  #topologyChanged(key: string, value: TopologyValue | undefined): void {
    const isService = key.endsWith("._service");
    if (value === undefined) (isService ? this.services : this.peers).delete(key);
    else if (isService) this.services.set(key, value as TopologyService);
    else this.peers.set(key, value as TopologyPeers);
  }

  #fleetChanged(key: string, row: FleetValue | undefined, revision: number): void {
    if (row === undefined) this.fleet.delete(key);
    else this.fleet.set(key, row);
    const token = key.split(".")[0] ?? "";
    const fleet = decodeToken(token) ?? token;
    const before = this.#revisions.get(fleet) ?? 0;
    // Revisions of another life of the servers begin anew, below those of the one before.
    const restarted = before > this.#fleetView.revision + 1;
    this.#revisions.set(fleet, restarted ? revision : Math.max(before, revision));
  }
}
