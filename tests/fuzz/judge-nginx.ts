// What a real nginx makes of many objects at once: it takes nginx.conf with all their profiles, takes or refuses each row
// with a reason, answers requests for their routes, and none of its workers stumbles.
import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm, truncate, writeFile } from "node:fs/promises";
import { Agent, request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { defaultSettings, type ProfileSettings } from "@sluice/ingress";
import { ensureTool, freePort } from "@sluice/native-tools";
import {
  type NginxOptions,
  type NginxProcess,
  type NginxRow,
  prepareNginx,
  removalOf,
  renderNginx,
  startNginx,
  UnixNginxClient,
} from "@sluice/proxy-agent/testing";
import { type Settings, UnexpectedError } from "./expected-locations.ts";
import { judgeConf } from "./judge-conf.ts";
import type { Rendered } from "./judge-object.ts";
import { judgeRow } from "./judge-rows.ts";

/** Bytes of rows in one request to nginx, which takes 16 MB. */
const MAX_POST = 4_000_000;
const REQUESTS_AT_ONCE = 16;
/** Milliseconds for one call, one request, one test of a file: a machine is busy, an nginx that hangs is told. */
const MOST_MS = 60_000;
/** Of one object: what a thousand of its hosts do, ten thousand do not do otherwise. */
const ASKED_HOSTS = 50;
/** Nobody listens there while nginx only tests. */
const HTTPS = "127.0.0.1:31591";
const MOST_LISTENERS = 3;
/** Every phase that a route may have something to do in. */
const EVERY_PHASE = "allphases";
const STUMBLED =
  /\[(?:alert|emerg|crit)\]|lua entry thread aborted|failed to run|runtime error|stack traceback|exited on signal/;

/** What is left of a judge that could not clean up: a process group, and a folder. */
export interface Owned {
  readonly pid: number;
  readonly dir: string;
}

const keptAlive = new Agent({ keepAlive: true });

export class NginxJudge implements AsyncDisposable {
  readonly options: NginxOptions;
  readonly #process: NginxProcess;
  readonly #client: UnixNginxClient;
  readonly #signal: AbortSignal;

  private constructor(
    options: NginxOptions,
    process: NginxProcess,
    client: UnixNginxClient,
    signal: AbortSignal,
  ) {
    this.options = options;
    this.#process = process;
    this.#client = client;
    this.#signal = signal;
  }

  static async start(signal: AbortSignal): Promise<NginxJudge> {
    const tool = await ensureTool("nginx", { signal });
    const dir = await mkdtemp(join(tmpdir(), "sluice-fuzz-"));
    const httpAddress = `127.0.0.1:${await freePort()}`;
    const options: NginxOptions = { dir, tool, httpAddress, workers: 1, firstByteTimeoutMs: 0 };
    const phases = { ...defaultSettings, rewrites: true, guards: true, filters: true };
    await writeFile(join(dir, "profiles.json"), JSON.stringify([[EVERY_PHASE, phases]]));
    // Only what stands in a file: TLS is for settings of listeners.
    await prepareNginx({ ...options, httpsAddress: HTTPS });
    const prepared = await prepareNginx(options);
    try {
      const process = await startNginx(prepared, httpAddress, signal);
      return new NginxJudge(options, process, new UnixNginxClient(prepared.socketPath, MOST_MS), signal);
    } catch (error) {
      await rm(dir, { recursive: true, force: true });
      throw error;
    }
  }

  /** The processes that it has beside its own; its folder. */
  get owned(): Owned {
    return { pid: this.#process.pid, dir: this.options.dir };
  }

  /**
   * Both halves have ended when it has: nothing of them is at work in a folder that goes away.
   * @throws Error with what must not be; AbortError when the run is to stop
   */
  async judge(batch: readonly { readonly rendered: Rendered; readonly foreign: boolean }[]): Promise<void> {
    const halves = await Promise.allSettled([
      this.#test(batch.map(({ rendered }) => rendered.profiles)).then(() => this.#testListeners(batch)),
      this.#apply(batch),
    ]);
    this.#signal.throwIfAborted();
    for (const half of halves) if (half.status === "rejected") throw half.reason;
  }

  /** Each is a configuration of its own, so that some of a batch stand for all. */
  async #testListeners(batch: readonly { readonly rendered: Rendered }[]): Promise<void> {
    const said = batch.flatMap(({ rendered: { listeners = {} } }) =>
      Object.keys(listeners).length === 0 ? [] : [listeners],
    );
    for (const listeners of said.slice(0, MOST_LISTENERS)) {
      await this.#isTaken(renderNginx({ ...this.options, httpsAddress: HTTPS, listeners }, new Map()));
    }
  }

  async #test(all: readonly ReadonlyMap<string, ProfileSettings>[]): Promise<void> {
    const profiles = new Map<string, ProfileSettings>();
    const seen = new Set<string>();
    for (const [i, each] of all.entries()) {
      for (const [hash, settings] of each) {
        const text = JSON.stringify(settings);
        if (!seen.has(text)) profiles.set(`${hash.slice(0, 32)}z${i}`, settings);
        seen.add(text);
      }
    }
    if (profiles.size === 0) return;
    judgeConf(
      renderNginx(this.options, profiles).conf,
      profiles as unknown as ReadonlyMap<string, Settings>,
      {
        unsaid: { ...defaultSettings },
        render: (others) =>
          renderNginx(this.options, others as unknown as ReadonlyMap<string, ProfileSettings>).conf,
      },
    );
    await this.#isTaken(renderNginx(this.options, profiles));
  }

  /** @throws UnexpectedError with what nginx -t says */
  async #isTaken({ conf, settingsFile, settings, files }: ReturnType<typeof renderNginx>): Promise<void> {
    const path = join(this.options.dir, "trial.conf");
    for (const [file, text] of files) await writeFile(file, text, { mode: 0o600 });
    await writeFile(settingsFile, settings, { mode: 0o600 });
    await writeFile(path, conf, { mode: 0o600 });
    const args = ["-t", "-q", "-p", this.options.dir, "-e", join(this.options.dir, "trial.log"), "-c", path];
    try {
      await promisify(execFile)(this.options.tool.path, args, {
        env: { ...process.env, ...this.options.tool.env },
        signal: this.#signal,
        timeout: MOST_MS,
        killSignal: "SIGKILL",
      });
    } catch (error) {
      this.#signal.throwIfAborted();
      throw new UnexpectedError(
        `nginx -t: ${(error as { stderr?: string }).stderr?.trim() || (error as Error).message}`,
      );
    } finally {
      await rm(settingsFile, { force: true });
    }
  }

  async #apply(batch: readonly { readonly rendered: Rendered; readonly foreign: boolean }[]): Promise<void> {
    const rows = batch.flatMap(({ rendered, foreign }) =>
      rendered.rows.map((row) => ({ row: inEveryPhase(row), foreign })),
    );
    const { instance } = await this.#client.state(this.#signal);
    try {
      await this.#send(rows, instance);
      await this.#ask(
        batch.flatMap(({ rendered }) => rendered.rows.filter(({ k }) => k === "route").slice(0, ASKED_HOSTS)),
      );
    } finally {
      // From the back: routes first.
      const removals = rows.map(({ row }) => removalOf(row)).reverse();
      await this.#client.apply(removals, instance, this.#signal);
    }
    const log = join(this.options.dir, "error.log");
    const stumbled = (await readFile(log, "utf8")).split("\n").find((line) => STUMBLED.test(line));
    await truncate(log);
    if (stumbled !== undefined) throw new UnexpectedError(`nginx stumbled: ${stumbled.slice(0, 500)}`);
  }

  async #send(
    rows: readonly { readonly row: NginxRow; readonly foreign: boolean }[],
    instance: string,
  ): Promise<void> {
    for (let from = 0; from < rows.length; ) {
      let to = from;
      for (let bytes = 0; to < rows.length && (to === from || bytes < MAX_POST); to++)
        bytes += JSON.stringify(rows[to]?.row).length;
      const part = rows.slice(from, to);
      const answer = await this.#client.apply(
        part.map(({ row }) => row),
        instance,
        this.#signal,
      );
      if (answer.restarted) throw new UnexpectedError("nginx was not the same any more");
      const refusals = new Set(answer.refused.map(({ i }) => i));
      for (const [i, { row }] of part.entries()) if (!refusals.has(i)) judgeRow(row);
      for (const { i, why } of answer.refused) {
        if (why === "") throw new UnexpectedError("nginx refused a row without a reason");
        const refused = part[i];
        if (refused === undefined || refused.foreign) continue;
        throw new UnexpectedError(
          `nginx refused a row of the model: ${why}: ${JSON.stringify(refused.row).slice(0, 300)}`,
        );
      }
      from = to;
    }
  }

  /** Routes are compiled by the first request for them. */
  async #ask(rows: readonly NginxRow[]): Promise<void> {
    const asked: { host: string; path: string }[] = [];
    for (const row of rows) {
      if (row.k !== "route" || "del" in row) continue;
      const host = row.host === "" ? "nobody.example.test" : row.host.replace("*", "some");
      if (!/^[a-z0-9.-]+$/.test(host)) continue;
      for (const [type, path] of row.paths.slice(0, 4)) {
        asked.push({
          host,
          path: type === "R" || !path.isWellFormed() ? "/app/1/x" : encodeURI(path).slice(0, 4000),
        });
      }
    }
    const next = async (): Promise<void> => {
      for (let one = asked.pop(); one !== undefined; one = asked.pop()) await this.#get(one.host, one.path);
    };
    await Promise.all(Array.from({ length: REQUESTS_AT_ONCE }, next));
  }

  #get(host: string, path: string): Promise<void> {
    const at = this.options.httpAddress.lastIndexOf(":");
    return new Promise((resolve, reject) => {
      const sent = request(
        {
          host: this.options.httpAddress.slice(0, at),
          port: Number(this.options.httpAddress.slice(at + 1)),
          path,
          headers: { host },
          agent: keptAlive,
          timeout: MOST_MS,
          signal: this.#signal,
        },
        (response) => {
          response.resume();
          if ("x-injected" in response.headers)
            reject(new UnexpectedError(`a header was injected at ${host}${path}`));
          response.on("error", reject);
          response.on("end", resolve);
        },
      );
      sent.on("timeout", () =>
        sent.destroy(new UnexpectedError(`no answer for ${MOST_MS} ms at ${host}${path}`)),
      );
      sent.on("error", reject);
      sent.end();
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#client[Symbol.dispose]();
    try {
      await this.#process.stop();
    } finally {
      await rm(this.options.dir, { recursive: true, force: true });
    }
  }
}

function inEveryPhase(row: NginxRow): NginxRow {
  if (row.k !== "route" || "del" in row) return row;
  const paths = row.paths.map(([type, path, upstream, , more]) =>
    more === undefined
      ? ([type, path, upstream, EVERY_PHASE] as const)
      : ([type, path, upstream, EVERY_PHASE, more] as const),
  );
  return { ...row, paths };
}
