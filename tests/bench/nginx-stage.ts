import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ensureTool, freePort } from "@sluice/native-tools";
import {
  type NginxOptions,
  type NginxProcess,
  type NginxRow,
  prepareNginx,
  startNginx,
  UnixNginxClient,
} from "@sluice/proxy-agent/testing";
import { familyOf } from "./process-figures.ts";

/** A proxy's nginx without an agent: whoever measures gives it its rows. */
export interface NginxStage extends AsyncDisposable {
  readonly httpAddress: string;
  readonly httpsAddress: string;
  /** Seconds from its start until it listened. */
  readonly startSeconds: number;
  readonly process: NginxProcess;
  readonly client: UnixNginxClient;
  readonly socketPath: string;
  /** @throws when a row is refused */
  apply(rows: readonly NginxRow[]): Promise<void>;
  /** A reload makes others of them. */
  workers(): Promise<readonly number[]>;
}

/** @param beforehand puts into its folder what an earlier one has left */
export async function startNginxStage(
  signal: AbortSignal,
  beforehand: (dir: string) => Promise<void> = async () => {},
  more: Partial<NginxOptions> = {},
): Promise<NginxStage> {
  const tool = await ensureTool("nginx", { signal });
  await using stack = new AsyncDisposableStack();
  const dir = await mkdtemp(join(tmpdir(), "sluice-bench-"));
  stack.defer(() => rm(dir, { recursive: true, force: true }));
  const httpAddress = `127.0.0.1:${await freePort()}`;
  const httpsAddress = `127.0.0.1:${await freePort()}`;
  const own = { dir, tool, httpAddress, httpsAddress, workers: 2, firstByteTimeoutMs: 0, ...more };
  const prepared = await prepareNginx(own);
  await beforehand(dir);
  const began = performance.now();
  const process = stack.use(await startNginx(prepared, httpAddress, signal));
  const startSeconds = (performance.now() - began) / 1000;
  const client = stack.use(new UnixNginxClient(prepared.socketPath));
  const { instance } = await client.state(signal);
  const owned = stack.move();
  return {
    httpAddress,
    httpsAddress,
    startSeconds,
    process,
    client,
    socketPath: prepared.socketPath,
    async apply(rows) {
      const answer = await client.apply(rows, instance, signal);
      if (answer.restarted) throw new Error("nginx was started again");
      const [first] = answer.refused;
      if (first !== undefined) throw new Error(`row ${first.i} was refused: ${first.why}`);
    },
    workers: async () => (await familyOf(process.pid)).slice(1),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}
