import { readFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { Child, waitForListener } from "@sluice/cli";
import type { Tool } from "@sluice/native-tools";
import { prepareNginx } from "@sluice/proxy-agent";
import type { LoadProxy } from "./load.ts";

interface NginxProxyOptions {
  readonly name: string;
  readonly dir: string;
  readonly tool: Tool;
  readonly port: number;
  readonly logFile: string;
  readonly signal: AbortSignal;
  onProblem(what: string): void;
}

/** A peers row as nginx had it when its agent last wrote the copy on disk. */
export interface CopiedPeers {
  readonly service: string;
  readonly cluster: string;
  readonly addresses: ReadonlySet<string>;
}

const STOP_MS = 5000;

/** One nginx of the fleet. */
export class NginxProxy implements LoadProxy, AsyncDisposable {
  readonly name: string;
  readonly dir: string;
  readonly url: string;
  readonly #child: Child;
  readonly #address: string;
  readonly #signal: AbortSignal;
  #asked = false;
  /** When the test last took it, or a worker of it, away; Infinity while it is away. */
  #downUntil = -Infinity;

  private constructor(options: NginxProxyOptions, child: (onExit: (how: string) => void) => Child) {
    this.name = options.name;
    this.dir = options.dir;
    this.#address = `127.0.0.1:${options.port}`;
    this.url = `http://${this.#address}/`;
    this.#signal = options.signal;
    this.#child = child((how) => {
      if (!this.#asked) options.onProblem(`nginx of ${this.name} ended by itself (${how})`);
    });
  }

  static async prepare(options: NginxProxyOptions): Promise<NginxProxy> {
    const { name, dir, tool, port, logFile } = options;
    const httpAddress = `127.0.0.1:${port}`;
    const { command, args, env } = await prepareNginx({
      dir,
      tool,
      httpAddress,
      workers: 2,
      firstByteTimeoutMs: 0,
      rowsMegabytes: 8,
    });
    return new NginxProxy(
      options,
      (onExit) =>
        new Child({ name: `nginx of ${name}`, command, args, env, logFile }, (_child, code, signal) =>
          onExit(signal ?? `code ${code}`),
        ),
    );
  }

  async start(): Promise<void> {
    this.#asked = false;
    this.#child.start();
    await waitForListener(this.#address, this.#child, this.#signal);
    if (this.#downUntil === Infinity) this.#downUntil = performance.now();
  }

  wasDownSince(at: number): boolean {
    return this.#downUntil >= at;
  }

  /** Master and workers, as if the machine had failed. */
  async kill(): Promise<void> {
    const { pid } = this.#child;
    if (pid === null) return;
    this.#asked = true;
    this.#downUntil = Infinity;
    process.kill(-pid, "SIGKILL");
    await this.#child.exited;
  }

  /** The master starts another. */
  killWorker(): void {
    const { pid } = this.#child;
    if (pid === null) return;
    const workers = readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim().split(" ");
    const worker = Number(workers[0]);
    if (!(worker > 1)) return;
    process.kill(worker, "SIGKILL");
    // What the worker had in hand is lost, and nothing that comes later.
    this.#downUntil = performance.now();
  }

  reload(): void {
    const { pid } = this.#child;
    if (pid !== null) process.kill(pid, "SIGHUP");
  }

  /** Name of a service's upstream. */
  async upstreamOf(service: string): Promise<string | undefined> {
    const rows = await this.#copy();
    return rows.find(({ key, value }) => key.split(".")[1] === "upstreams" && value.service === service)
      ?.value.id;
  }

  async #copy(): Promise<CopiedRow[]> {
    const text = await readFile(join(this.dir, "last-good.jsonl"), "utf8").catch(
      (error: NodeJS.ErrnoException) => {
        if (error.code === "ENOENT") return "";
        throw error;
      },
    );
    const lines = text.split("\n").filter((line) => line !== "");
    // The first line tells of the copy itself.
    return lines.slice(1).map((line) => JSON.parse(line) as CopiedRow);
  }

  /** Its rows of peers. */
  async copied(): Promise<CopiedPeers[]> {
    const services = new Map<string, string>();
    const rows: { upstream: string; cluster: string; addresses: Set<string> }[] = [];
    for (const { key, value, row } of await this.#copy()) {
      const kind = key.split(".")[1];
      if (kind === "upstreams") services.set(value.id, value.service);
      if (kind !== "peers" || row === null) continue;
      const addresses = new Set(row.peers.filter((peer) => peer[3] !== 1).map(([address]) => address));
      rows.push({ upstream: row.upstream, cluster: row.cluster, addresses });
    }
    return rows.map(({ upstream, cluster, addresses }) => ({
      service: services.get(upstream) ?? upstream,
      cluster,
      addresses,
    }));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#asked = true;
    await this.#child.stop(STOP_MS);
  }
}

/** As the agent writes it: the record, and the row that nginx took for it. */
interface CopiedRow {
  readonly key: string;
  readonly value: { readonly id: string; readonly service: string };
  readonly row: {
    readonly upstream: string;
    readonly cluster: string;
    readonly peers: readonly (readonly [address: string, port: number, weight: number, draining?: 1])[];
  } | null;
}
