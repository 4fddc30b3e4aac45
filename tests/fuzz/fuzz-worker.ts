import { rm } from "node:fs/promises";
import { Worker } from "node:worker_threads";
import type { Owned } from "./judge-nginx.ts";
import type { Began, Said, Share } from "./worker.ts";

/** Of one thread: an object that needs more has found a fault. */
const HEAP_MB = 1024;
/** Milliseconds that a worker gets to end after it was told to: nginx ends within five seconds. */
const END_MS = 60_000;

/** A thread that judges its share, and whatever is left of it when it does not end by itself. */
export class FuzzWorker {
  readonly #worker: Worker;
  #owned: Owned | null = null;

  private constructor(share: Share) {
    this.#worker = new Worker(new URL("worker.ts", import.meta.url), {
      workerData: share,
      resourceLimits: { maxOldGenerationSizeMb: HEAP_MB },
    });
  }

  /**
   * Ends when the share is done, or soon after `stop`.
   * @throws what the worker threw; an error that says so when it had to be ended
   */
  static async run(share: Share, said: (said: Said) => void, stop: AbortSignal): Promise<void> {
    const worker = new FuzzWorker(share);
    try {
      await worker.#ended(said, stop);
    } finally {
      await worker.#cleanUp();
    }
  }

  #ended(said: (said: Said) => void, stop: AbortSignal): Promise<void> {
    const worker = this.#worker;
    return new Promise<void>((resolve, reject) => {
      let late: NodeJS.Timeout | undefined;
      const tellStop = () => {
        worker.postMessage("stop");
        late = setTimeout(() => {
          reject(new Error(`a worker was told to stop and had not after ${END_MS} ms`));
          void worker.terminate();
        }, END_MS);
      };
      worker.on("message", (message: Began | Said) => {
        if ("owned" in message) this.#owned = message.owned;
        else said(message);
      });
      worker.once("error", reject);
      worker.once("exit", (code) => {
        clearTimeout(late);
        stop.removeEventListener("abort", tellStop);
        if (code === 0) resolve();
        else reject(new Error(`a worker ended with ${code}`));
      });
      if (stop.aborted) tellStop();
      else stop.addEventListener("abort", tellStop, { once: true });
    });
  }

  /** A thread that failed has left its nginx and its folder. */
  async #cleanUp(): Promise<void> {
    if (this.#owned === null) return;
    try {
      process.kill(-this.#owned.pid, "SIGKILL");
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
    }
    await rm(this.#owned.dir, { recursive: true, force: true });
  }
}
