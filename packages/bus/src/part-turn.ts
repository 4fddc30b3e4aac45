import { type Part, StepDownError } from "@sluice/contracts";
import { Backoff, LinkedAbort, rejectedBy, slept } from "@sluice/service-kit";
import type { HoldOptions } from "./hold-options.ts";

/** How long a source may take before the part is left to others, ms. */
const PATIENCE_MS = 30_000;
/** After that long a process that resigned is tried again, ms. */
const RESIGNED_MS = 60_000;
/** Two processes that see different members would take a part from each other for ever: each waits longer and longer, ms. */
const QUARREL_MS = [500, 8000] as const;

/** When it is this process's turn to hold a part, and when the part is left to others. */
export class PartTurn {
  readonly #table: string;
  readonly #part: Part;
  readonly #options: Pick<HoldOptions, "kit" | "turns" | "warm" | "patienceMs">;
  /** Aborted by the end of the holder. */
  readonly #signal: AbortSignal;
  readonly #quarrel: Backoff;

  constructor(
    table: string,
    part: Part,
    options: Pick<HoldOptions, "kit" | "turns" | "warm" | "patienceMs">,
    signal: AbortSignal,
  ) {
    this.#table = table;
    this.#part = part;
    this.#options = options;
    this.#signal = signal;
    this.#quarrel = new Backoff(...QUARREL_MS, () => 0.5 + options.kit.random.next() / 2);
  }

  get rank(): number {
    return this.#options.turns.rankOf(this.#table, this.#part);
  }

  /**
   * Until this process ranks first for the part and its source has been read.
   * @param lostTo who took the part from this process, as the newest claim says; null: nobody did
   */
  async come(lostTo: () => string | null, signal: AbortSignal): Promise<void> {
    const { turns, warm, kit } = this.#options;
    for (;;) {
      while (this.rank !== 0) await turns.changed(signal);
      const heir = lostTo();
      if (heir !== null && turns.isLive(heir)) {
        // It does not see that we rank first, or we do not see that it does.
        await kit.clock.sleep(this.#quarrel.next(), signal);
        if (this.rank !== 0) continue;
      }
      if (warm !== undefined) await this.patiently((limited) => warm(limited), "its source", signal);
      if (this.rank === 0) return;
    }
  }

  /** Nobody took the part before it was whole: the next quarrel is another one. */
  settled(): void {
    this.#quarrel.reset();
  }

  /** While it takes too long, others may try: this process ranks last then, and gives up if one of them can. */
  async patiently(
    readSource: (signal: AbortSignal) => Promise<void>,
    what: string,
    signal: AbortSignal,
  ): Promise<void> {
    const { turns, kit, patienceMs = PATIENCE_MS } = this.#options;
    // Not aborted once the source has been read: some of it may still be coming, and is welcome as long as we hold.
    const givenUp = new AbortController();
    const limited = AbortSignal.any([signal, givenUp.signal]);
    const read = new LinkedAbort(limited);
    let resigned = false;
    const watch = async () => {
      const waiting = read.signal;
      if (!(await slept(kit.clock, patienceMs, waiting))) return;
      kit.log.warn({ table: this.#table, part: this.#part }, `could not read ${what} in time, resigning`);
      resigned = true;
      turns.resign(this.#table, this.#part, true);
      while (this.rank === 0 && !waiting.aborted) await turns.changed(waiting).catch(() => {});
      if (waiting.aborted) return;
      givenUp.abort(steppingDown(this.#table, this.#part, `${what} cannot be read`));
    };
    const watching = watch();
    try {
      await Promise.race([readSource(limited), rejectedBy(limited)]);
    } finally {
      read.abort();
      await watching;
      if (resigned) void this.#tryAgainLater();
    }
  }

  async #tryAgainLater(): Promise<void> {
    const { turns, kit } = this.#options;
    await slept(kit.clock, RESIGNED_MS, this.#signal);
    turns.resign(this.#table, this.#part, false);
  }
}

export function steppingDown(table: string, { scope, shard }: Part, why: string): StepDownError {
  return new StepDownError(`${table} ${[scope, shard].filter(Boolean).join("/")}: ${why}`);
}
