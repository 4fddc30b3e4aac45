import { FairQueue } from "@sluice/service-kit";

/** Writes of one process that wait for the bus's answer at a time; each is one round trip. */
const MOST = 256;
/** So many of them may be of a backlog: what was just seen finds room at once, and a short queue at the server. */
const MOST_BACKLOG = 192;
/** Of so many places that become free one goes to the backlog first: else a steady rate would starve it. */
const BACKLOG_SHARE = 8;

interface Waiter {
  readonly turn: string;
  readonly live: boolean;
  readonly enter: () => void;
}

/**
 * Bounds what a process has in flight to the bus, over everything that it writes. Who has to wait is let in by turns of
 * scopes (clusters), live writes first: a cluster that brings up a backlog keeps no other one waiting.
 */
export class WriteWindow {
  readonly #live = new FairQueue<Waiter, true>(({ turn }) => turn);
  readonly #backlog = new FairQueue<Waiter, true>(({ turn }) => turn);
  #inFlight = 0;
  #inFlightBacklog = 0;
  #left = 0;

  get inFlight(): number {
    return this.#inFlight;
  }

  get waiting(): number {
    return this.#live.size + this.#backlog.size;
  }

  /** @returns whether there was room; then `leave` is owed */
  tryEnter(live: boolean): boolean {
    if (!this.#room(live) || (!live && this.#live.size > 0)) return false;
    this.#take(live);
    return true;
  }

  /** Resolves once there is room, in turn; then `leave` is owed. */
  enter(turn: string, live: boolean): Promise<void> {
    if (this.tryEnter(live)) return Promise.resolve();
    return new Promise((enter) => {
      (live ? this.#live : this.#backlog).set({ turn, live, enter }, true);
    });
  }

  leave(live: boolean): void {
    this.#inFlight--;
    if (!live) this.#inFlightBacklog--;
    const backlogFirst = ++this.#left % BACKLOG_SHARE === 0;
    for (const isLive of backlogFirst ? [false, true] : [true, false]) {
      if (!this.#room(isLive)) continue;
      const queue = isLive ? this.#live : this.#backlog;
      const [next] = queue.take() ?? [];
      if (next === undefined) continue;
      queue.release(next);
      this.#take(isLive);
      return next.enter();
    }
  }

  #room(live: boolean): boolean {
    return this.#inFlight < MOST && (live || this.#inFlightBacklog < MOST_BACKLOG);
  }

  #take(live: boolean): void {
    this.#inFlight++;
    if (!live) this.#inFlightBacklog++;
  }
}

/** One write's way through the window. */
export class WritePass {
  readonly #window: WriteWindow;
  readonly #turn: string;
  /** As what it is inside; null: it is not. */
  #inside: { readonly live: boolean } | null = null;

  constructor(window: WriteWindow, turn: string) {
    this.#window = window;
    this.#turn = turn;
  }

  /** @returns whether it is inside */
  tryEnter(live: boolean): boolean {
    if (this.#inside === null && this.#window.tryEnter(live)) this.#inside = { live };
    return this.#inside !== null;
  }

  async enter(live: boolean): Promise<void> {
    if (this.tryEnter(live)) return;
    await this.#window.enter(this.#turn, live);
    this.#inside = { live };
  }

  leave(): void {
    if (this.#inside !== null) this.#window.leave(this.#inside.live);
    this.#inside = null;
  }
}
