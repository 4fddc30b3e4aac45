import type { Bus, PlainWriter, TableView } from "@sluice/bus";
import {
  BusUnreachableError,
  type IntentRecord,
  intentsTable,
  OrderPendingError,
  plainKeys,
} from "@sluice/contracts";
import { type Kit, TimeLimit } from "@sluice/service-kit";

/** How long the bus may take to show what was written, ms. */
const CONFIRM_MS = 5000;

/** Writes orders, and knows that they stand once the table says so. */
export class IntentWriter {
  readonly #bus: Bus;
  readonly #view: TableView<IntentRecord>;
  readonly #writer: PlainWriter<IntentRecord>;
  readonly #kit: Pick<Kit, "signal" | "log" | "clock">;
  readonly done: Promise<void>;

  constructor(bus: Bus, view: TableView<IntentRecord>, kit: Pick<Kit, "signal" | "log" | "clock">) {
    this.#bus = bus;
    this.#view = view;
    this.#kit = kit;
    // Servers that lost their storage get back what stood last, whoever ordered it.
    this.#writer = bus.writer(intentsTable, (intent) => this.#stands(intent));
    this.done = Promise.all([this.#writer.done, this.#keep()]).then(() => {});
  }

  /** Orders come from no API: when the table has fewer than was read from it, whoever read them writes them again. */
  async #keep(): Promise<void> {
    const { signal, log } = this.#kit;
    let known = 0;
    try {
      for (;;) {
        await this.#view.when(() => this.#view.connected && this.#view.revision !== known, signal);
        await this.#view.caughtUp(signal);
        const { revision, size } = this.#view;
        if (revision < known) {
          log.warn({ orders: size }, "the bus has lost orders; they are written again");
          for (const [key, intent] of this.#view.entries()) this.#writer.set(key, intent);
        }
        known = revision;
      }
    } catch (error) {
      if (!signal.aborted) throw error;
    }
  }

  #stands(intent: IntentRecord): boolean {
    const there = this.#view.get(plainKeys.intent(intent.verb, intent.cluster));
    return JSON.stringify(there) === JSON.stringify(intent);
  }

  /** @throws BusUnreachableError, OrderPendingError */
  async put(intent: IntentRecord): Promise<void> {
    this.#reached();
    this.#writer.set(plainKeys.intent(intent.verb, intent.cluster), intent);
    await this.#confirmed(() => this.#stands(intent));
    this.#kit.log.info({ intent }, "ordered");
  }

  /** @throws BusUnreachableError, OrderPendingError */
  async remove(
    intent: IntentRecord,
    said: { readonly by?: string; readonly reason?: string },
  ): Promise<void> {
    this.#reached();
    const key = plainKeys.intent(intent.verb, intent.cluster);
    this.#writer.remove(key);
    await this.#confirmed(() => this.#view.get(key) === undefined);
    this.#kit.log.info({ intent, ...said }, "order taken back");
  }

  #reached(): void {
    if (!this.#bus.connected) throw new BusUnreachableError("the bus does not answer; nothing was ordered");
  }

  async #confirmed(condition: () => boolean): Promise<void> {
    using limit = new TimeLimit(this.#kit.clock, CONFIRM_MS, this.#kit.signal);
    try {
      await this.#view.when(condition, limit.signal);
    } catch (error) {
      if (!limit.expired) throw error;
      throw new OrderPendingError(
        `the bus has not confirmed it within ${CONFIRM_MS / 1000} s; it takes effect once the bus answers`,
      );
    }
  }
}
