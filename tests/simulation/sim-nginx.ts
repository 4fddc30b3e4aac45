import type { ProxyAgentPorts } from "@sluice/proxy-agent";
import type { EventTrace } from "./event-trace.ts";
import { breaks, simNginxConfig } from "./nginx-plan.ts";
import type { SimProcess } from "./sim-process.ts";
import type { Timer, VirtualTime } from "./virtual-time.ts";

type NginxClient = ProxyAgentPorts["nginx"];
export type NginxRow = Parameters<NginxClient["apply"]>[0][number];
type NginxRowName = Awaited<ReturnType<NginxClient["keys"]>>["keys"][number];
type TrialStore = ProxyAgentPorts["trial"];
type Profiles = Awaited<ReturnType<ProxyAgentPorts["kept"]>>;
type LastGoodStore = ProxyAgentPorts["lastGood"];
type LastGoodCopy = Awaited<ReturnType<LastGoodStore["load"]>>;

/** Until new workers are up, ms. */
const RELOAD_MS = 150;
/** Until it is clear whether they answer, ms. */
const ASK_MS = 200;

/** What a check looks at. */
export interface NginxObserver {
  /** A row is in shared memory now, or was taken out of it (null). */
  row(nginx: SimNginx, name: string, row: NginxRow | null): void;
  /** It was started anew and knows nothing. */
  restarted(nginx: SimNginx): void;
  /** Its last good copy is being written; what is returned is called once that is done. */
  saving(nginx: SimNginx): () => void;
  /** Its workers run with these profiles now, beside the default one. */
  loaded(nginx: SimNginx): void;
}

/** One nginx with its shared memory, and the disk of its machine: both outlive the agent. */
export class SimNginx {
  readonly name: string;
  readonly rows = new Map<string, NginxRow>();
  readonly #time: VirtualTime;
  readonly #trace: EventTrace;
  readonly #observer: NginxObserver;
  /** In nginx.conf as it lies on its disk, and as its workers have it. */
  profiles: Profiles = new Map();
  /** With which it last came up well. */
  #kept: Profiles = new Map();
  #trial: Awaited<ReturnType<TrialStore["load"]>> = null;
  readonly #onClose = new Set<() => void>();
  #lastGood: LastGoodCopy = { entries: [], wholeAt: 0 };
  #lives = 1;

  constructor(name: string, time: VirtualTime, trace: EventTrace, observer: NginxObserver) {
    this.name = name;
    this.#time = time;
    this.#trace = trace;
    this.#observer = observer;
  }

  get instance(): string {
    return `${this.name}-${this.#lives}`;
  }

  /** Its shared memory is gone; connections of the agent's close. */
  restart(): void {
    this.#lives++;
    this.rows.clear();
    this.#trace.note(this.#time.now, `${this.name} restarted`);
    this.#observer.restarted(this);
    for (const listener of [...this.#onClose]) listener();
  }

  /** Of one host, as text: path, and the upstream unless it answers 503. */
  pathsOf(host: string): string[] {
    const row = this.rows.get(`route ${host}`);
    if (row?.k !== "route" || !("paths" in row)) return [];
    return row.paths.map(([, path, upstream]) => `${path} ${upstream}`.trim());
  }

  apply(rows: readonly NginxRow[]): void {
    for (const row of rows) {
      const name = nameOf(row);
      const gone = "del" in row;
      if (gone) this.rows.delete(name);
      else this.rows.set(name, row);
      this.#trace.note(this.#time.now, `${this.name} ${name}${gone ? " removed" : ""} ${sizeOf(row)}`);
      this.#observer.row(this, name, gone ? null : row);
    }
  }

  /** The disk of an agent of this nginx. */
  lastGood(process: SimProcess): LastGoodStore {
    return {
      load: async () => this.#lastGood,
      save: async ({ entries, wholeAt }) => {
        const copy = { entries: [...entries], wholeAt };
        const saved = this.#observer.saving(this);
        await ipc(process, () => {
          this.#lastGood = copy;
          saved();
        });
      },
    };
  }

  /** By which a host's requests are served; null: by none. */
  profileOf(host: string): string | null {
    const row = this.rows.get(`route ${host}`);
    if (row?.k !== "route" || !("paths" in row)) return null;
    return row.paths[0]?.[3] ?? null;
  }

  /** Profiles without which some of its routes would be answered by nobody. */
  missing(): string[] {
    const used = [...this.rows.values()].flatMap((row) =>
      row.k === "route" && "paths" in row ? row.paths.map(([, , , profile]) => profile) : [],
    );
    return used.filter((name) => name !== "default" && !this.profiles.has(name));
  }

  /** Whether its workers answer nobody who is sent to some profile. */
  get broken(): boolean {
    return [...this.profiles.values()].some(breaks);
  }

  #load(profiles: Profiles): void {
    this.profiles = profiles;
    this.#trace.note(this.#time.now, `${this.name} runs with profiles ${[...profiles.keys()].join()}`);
    this.#observer.loaded(this);
  }

  /** nginx.conf, its copy, and the reloads of an agent of this nginx. */
  configuration(process: SimProcess): Pick<ProxyAgentPorts, "kept" | "trial" | "reload"> {
    return {
      kept: async () => this.#kept,
      trial: {
        load: async () => this.#trial,
        save: (trial) =>
          ipc(process, () => {
            this.#trial = trial;
          }),
      },
      reload: async (_, profiles, { probationMs }) => {
        const before = this.profiles;
        await ipc(process, () => this.#load(profiles), RELOAD_MS);
        // The agent asks; one that is killed meanwhile takes nothing back.
        await new Promise<void>((resolve) => process.after(ASK_MS, resolve));
        const bad = [...profiles].find(([, settings]) => breaks(settings));
        if (bad === undefined) {
          await ipc(process, () => {}, probationMs);
          this.#kept = profiles;
          return { ok: true };
        }
        await ipc(process, () => this.#load(before), RELOAD_MS);
        const [profile, { readTimeoutMs }] = bad;
        const why = "a request of the agent's own was not answered";
        // Every other time nginx says who it was.
        return { ok: false, why, ...(readTimeoutMs % 2000 === 0 ? { profile } : {}) };
      },
    };
  }

  client(process: SimProcess): NginxClient {
    const listeners = new Set<() => void>();
    return {
      apply: (rows, expect) =>
        ipc(process, () => {
          if (expect !== this.instance) return { restarted: true };
          this.apply(rows);
          return { restarted: false, refused: [] };
        }),
      state: () =>
        ipc(process, () => ({
          instance: this.instance,
          revision: 0,
          seeded: 0,
          free: 1 << 20,
          capacity: 1 << 20,
          config: simNginxConfig(this.profiles),
          worker: 0,
          workers: 1,
          nginx: "1.26.0",
          counters: {},
        })),
      keys: () =>
        ipc(process, () => ({ instance: this.instance, keys: [...this.rows.values()].flatMap(rowName) })),
      onClose: (listener) => {
        const told = () => process.deliver(listener);
        listeners.add(told);
        this.#onClose.add(told);
      },
      [Symbol.dispose]: () => {
        for (const listener of listeners) this.#onClose.delete(listener);
      },
    };
  }
}

/** A call on the same machine: a millisecond there, and one back. */
function ipc<T>(process: SimProcess, atNginx: () => T, takesMs = 1): Promise<T> {
  return new Promise((resolve) => {
    const there: Timer = process.time.after(takesMs, () => {
      // A process that crashed meanwhile had sent it all the same.
      const answer = atNginx();
      process.time.after(1, () => process.deliver(() => resolve(answer)));
    });
    void there;
  });
}

function nameOf(row: NginxRow): string {
  switch (row.k) {
    case "cluster":
      return `cluster ${row.cluster}`;
    case "upstream":
      return `upstream ${row.id}`;
    case "peers":
      return `peers ${row.upstream} ${row.cluster}`;
    case "route":
      return `route ${row.host}`;
    case "secret":
      return `secret ${row.id}`;
    case "name":
      return `name ${row.name}`;
  }
}

function sizeOf(row: NginxRow): string {
  if (row.k === "peers" && "peers" in row) return row.peers.map(([address]) => address).join(",");
  return row.k === "cluster" && "state" in row ? row.state : "";
}

/** Names of services, which are no rows of a fleet, it does not tell. */
function rowName(row: NginxRow): NginxRowName | [] {
  switch (row.k) {
    case "name":
      return [];
    case "cluster":
      return { k: "cluster", cluster: row.cluster };
    case "upstream":
      return { k: "upstream", id: row.id };
    case "peers":
      return { k: "peers", upstream: row.upstream, cluster: row.cluster };
    case "route":
      return { k: "route", host: row.host };
    case "secret":
      return { k: "secret", id: row.id };
  }
}
