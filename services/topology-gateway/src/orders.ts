import type { Bus, TableView } from "@sluice/bus";
import {
  BusUnreachableError,
  type IntentRecord,
  intentsTable,
  OrderOvertakenError,
  OrderPendingError,
  plainKeys,
  saidBy,
  type TakenBack,
} from "@sluice/contracts";
import { Backoff, type Kit, TimeLimit } from "@sluice/service-kit";
import { OrderBook, type Word } from "./order-book.ts";

/** How long the bus may take to show what was written, ms. */
const CONFIRM_MS = 5000;
/**
 * An order that the table has lost is written again so long after that was read, ms; that one was taken back, at once. So
 * of two gateways the one that knows better is first. Less than FORGET_ORDERS_MS, for which others follow it on.
 */
const OTHERS_FIRST_MS = 3000;

type OrdersKit = Pick<Kit, "signal" | "log" | "clock" | "random">;
type OrdersBus = Pick<Bus, "connected" | "view" | "compareAndSet">;

/**
 * Orders as the table has them, and the one way to change them. Each word about an order is numbered and written over
 * exactly the word that was read before, so one that lands late or twice changes nothing. Orders come from no API: what
 * the table has lost, or has an older word of, whoever read it writes again.
 */
export class Orders {
  readonly #bus: OrdersBus;
  readonly #kit: OrdersKit;
  readonly #book: OrderBook;
  readonly #view: TableView<IntentRecord>;
  /** Since when all of the present snapshot has been read, monotonic ms; null: it has not. */
  #readAt: number | null = null;
  readonly done: Promise<void>;

  constructor(bus: OrdersBus, kit: OrdersKit, book: OrderBook = new OrderBook()) {
    this.#bus = bus;
    this.#kit = kit;
    this.#book = book;
    this.#view = bus.view(intentsTable, {
      onRestart: () => {
        this.#book.restart();
        this.#readAt = null;
      },
      onChange: (key, intent, { revision, generation = 0 }) =>
        this.#book.note(key, intent, { revision, generation }),
      onUnreadable: (key, revision) => this.#book.noteUnreadable(key, revision),
    });
    this.done = Promise.all([this.#view.done, this.#keep()]).then(() => {});
  }

  /** Orders that stand, by key. */
  get standing(): ReadonlyMap<string, IntentRecord> {
    return this.#book.standing;
  }

  /** The first snapshot has been read. */
  async caughtUp(signal: AbortSignal): Promise<void> {
    await this.#view.caughtUp(signal);
  }

  /**
   * @returns what stands now: this order, or the same one that somebody else gave meanwhile
   * @throws BusUnreachableError, OrderPendingError, OrderOvertakenError
   */
  async put(intent: IntentRecord): Promise<IntentRecord> {
    const key = plainKeys.intent(intent.verb, intent.cluster);
    const { intent: stands } = await this.#say(key, intent);
    if (stands === undefined || stands.held !== intent.held) {
      const how = stands === undefined ? "taken back" : `given for another list ${saidBy(stands)}`;
      throw new OrderOvertakenError(`${intent.verb} ${intent.cluster} was ${how} meanwhile`);
    }
    this.#kit.log.info({ intent: stands }, "ordered");
    return stands;
  }

  /**
   * Also where nothing stands: an order may be on its way, and does not come to stand after this.
   * @returns the order that stood
   * @throws BusUnreachableError, OrderPendingError, OrderOvertakenError
   */
  async takeBack(
    { verb, cluster }: Pick<IntentRecord, "verb" | "cluster">,
    said: TakenBack = {},
  ): Promise<IntentRecord | null> {
    const key = plainKeys.intent(verb, cluster);
    const { intent } = this.#book.newest(key);
    const { intent: stands } = await this.#say(key, undefined, said);
    if (stands !== undefined) {
      throw new OrderOvertakenError(`${verb} ${cluster} was ordered anew meanwhile, ${saidBy(stands)}`);
    }
    if (intent !== undefined) this.#kit.log.info({ intent, ...said }, "order taken back");
    return intent ?? null;
  }

  get #isRead(): boolean {
    return this.#view.connected && this.#view.isScopeSettled("");
  }

  /**
   * Says something of an order as long as nobody else does.
   * @returns the word that came behind the one that stood when this was called: this one, or somebody else's
   */
  async #say(key: string, intent: IntentRecord | undefined, takenBack?: TakenBack): Promise<Word> {
    const { clock, signal, random } = this.#kit;
    if (!this.#bus.connected) throw new BusUnreachableError("the bus does not answer; nothing was ordered");
    const before = this.#book.newest(key);
    // By the clock as well, so that it is the newer one even of words that this process has not heard of.
    const word = { intent, generation: Math.max(Math.floor(clock.now()), before.generation + 1) };
    const overtaken = () => this.#book.newest(key).generation !== before.generation;
    const backoff = new Backoff(50, 1000, random.next);
    using limit = new TimeLimit(clock, CONFIRM_MS, signal);
    try {
      for (;;) {
        await this.#view.when(() => this.#isRead, limit.signal);
        if (overtaken()) return this.#book.newest(key);
        await this.#write(key, word, takenBack);
        await this.#changes(() => overtaken(), backoff.next() + 20, limit.signal);
      }
    } catch (error) {
      if (!limit.expired) throw error;
      throw new OrderPendingError(
        `the bus has not confirmed it within ${CONFIRM_MS / 1000} s; it may have been stored or not`,
      );
    }
  }

  /** One try; what became of it the table tells. */
  async #write(key: string, { intent, generation }: Word, takenBack?: TakenBack): Promise<void> {
    const { log, signal } = this.#kit;
    const revision = this.#book.revisionOf(key);
    try {
      await this.#bus.compareAndSet(intentsTable, key, intent, { revision, generation }, takenBack);
    } catch (err) {
      if (signal.aborted) throw err;
      log.debug({ err, key }, "write of an order got no answer");
    }
  }

  /** Until it holds, or for so long, ms. */
  async #changes(condition: () => boolean, ms: number, signal: AbortSignal): Promise<void> {
    using pause = new TimeLimit(this.#kit.clock, ms, signal);
    try {
      await this.#view.when(condition, pause.signal);
    } catch (error) {
      if (!pause.expired) throw error;
    }
  }

  /** Writes again what the table lacks. */
  async #keep(): Promise<void> {
    const { signal, log, clock, random } = this.#kit;
    const backoff = new Backoff(50, 2000, random.next);
    try {
      for (;;) {
        await this.#view.when(() => this.#isRead, signal);
        this.#readAt ??= clock.monotonic();
        if (this.#book.complete) backoff.reset();
        await this.#view.when(() => !this.#isRead || !this.#book.complete, signal);
        const readForMs = clock.monotonic() - (this.#readAt ?? clock.monotonic());
        const due = [...this.#book.missing()].filter(
          ([, { intent }]) => intent === undefined || readForMs >= OTHERS_FIRST_MS,
        );
        for (const [key, word] of due) {
          log.warn(
            { key, intent: word.intent ?? null },
            "the bus has lost what was said of an order; said again",
          );
          await this.#write(key, word);
        }
        const waitMs = due.length > 0 ? backoff.next() + 20 : OTHERS_FIRST_MS - readForMs;
        await this.#changes(() => !this.#isRead || this.#book.complete, Math.max(waitMs, 20), signal);
      }
    } catch (error) {
      if (!signal.aborted) throw error;
    }
  }
}
