import type { ProxyAgentPorts } from "@sluice/proxy-agent";
import type { EventTrace } from "./event-trace.ts";
import type { SimProcess } from "./sim-process.ts";
import type { Timer, VirtualTime } from "./virtual-time.ts";

type NginxClient = ProxyAgentPorts["nginx"];
export type NginxRow = Parameters<NginxClient["apply"]>[0][number];
type NginxRowName = Awaited<ReturnType<NginxClient["keys"]>>["keys"][number];
type LastGoodStore = ProxyAgentPorts["lastGood"];
type LastGoodCopy = Awaited<ReturnType<LastGoodStore["load"]>>;

/** What a check looks at. */
export interface NginxObserver {
  /** A row is in shared memory now, or was taken out of it (null). */
  row(nginx: SimNginx, name: string, row: NginxRow | null): void;
  /** It was started anew and knows nothing. */
  restarted(nginx: SimNginx): void;
  /** Its last good copy is being written; what is returned is called once that is done. */
  saving(nginx: SimNginx): () => void;
}

/** One nginx with its shared memory, and the disk of its machine: both outlive the agent. */
export class SimNginx {
  readonly name: string;
  readonly rows = new Map<string, NginxRow>();
  readonly #time: VirtualTime;
  readonly #trace: EventTrace;
  readonly #observer: NginxObserver;
  readonly #config: string;
  readonly #onClose = new Set<() => void>();
  #lastGood: LastGoodCopy = { entries: [], wholeAt: 0 };
  #lives = 1;

  constructor(name: string, config: string, time: VirtualTime, trace: EventTrace, observer: NginxObserver) {
    this.name = name;
    this.#config = config;
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
          config: this.#config,
          worker: 0,
          workers: 1,
          nginx: "1.26.0",
          counters: {},
        })),
      keys: () =>
        ipc(process, () => ({ instance: this.instance, keys: [...this.rows.values()].map(rowName) })),
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
function ipc<T>(process: SimProcess, atNginx: () => T): Promise<T> {
  return new Promise((resolve) => {
    const there: Timer = process.time.after(1, () => {
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
  }
}

function sizeOf(row: NginxRow): string {
  if (row.k === "peers" && "peers" in row) return row.peers.map(([address]) => address).join(",");
  return row.k === "cluster" && "state" in row ? row.state : "";
}

function rowName(row: NginxRow): NginxRowName {
  switch (row.k) {
    case "cluster":
      return { k: "cluster", cluster: row.cluster };
    case "upstream":
      return { k: "upstream", id: row.id };
    case "peers":
      return { k: "peers", upstream: row.upstream, cluster: row.cluster };
    case "route":
      return { k: "route", host: row.host };
  }
}
