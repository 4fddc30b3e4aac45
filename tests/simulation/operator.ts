import type { IntentRecord } from "@sluice/contracts";
import { BEGAN_AT } from "./virtual-globals.ts";
import type { VirtualTime } from "./virtual-time.ts";

type Verb = "drain" | "unjoin";

/** A gateway, as who talks to it sees it. */
export interface Gateway {
  /** Resolves once the table says so. */
  put(intent: IntentRecord): Promise<void>;
  remove(intent: IntentRecord): Promise<void>;
  /** It has read that order from the table. */
  knows(key: string): boolean;
}

interface Wanted {
  readonly verb: Verb;
  readonly cluster: string;
  readonly on: boolean;
  readonly at: number;
}

const AGAIN_MS = 500;
/** Longer than the gateway takes to say that an order is pending, ms. */
const PATIENCE_MS = 7000;

/**
 * Somebody at the command line, who tries until the gateway says that the order stands or is taken back. Orders come
 * from no API: those that a living gateway knows it must bring back itself when the bus has lost them; where it was
 * started anew before it could, or an older copy of the storage says otherwise, people order again.
 */
export class Operator {
  readonly #time: VirtualTime;
  readonly #gateway: () => Gateway | null;
  readonly #wanted = new Map<string, Wanted>();
  /** Orders of which nobody has said yet that they are carried out. */
  readonly #open = new Set<string>();
  /** Orders that the bus has lost, and that the gateway knows. */
  readonly #lost = new Set<string>();

  constructor(time: VirtualTime, gateway: () => Gateway | null) {
    this.#time = time;
    this.#gateway = gateway;
  }

  order(verb: Verb, cluster: string, on: boolean): void {
    const key = `${verb}.${cluster}`;
    // There is nothing to take back.
    if (!on && this.#wanted.get(key)?.on !== true) return;
    this.#wanted.set(key, { verb, cluster, on, at: BEGAN_AT + this.#time.now });
    this.#lost.delete(key);
    this.#tryOn(key);
  }

  #tryOn(key: string): void {
    if (this.#open.has(key)) return;
    this.#open.add(key);
    this.#try(key);
  }

  #try(key: string): void {
    const wanted = this.#wanted.get(key);
    const gateway = this.#gateway();
    if (wanted === undefined) return;
    let answered = false;
    const again = (ms: number) =>
      this.#time.after(ms, () => {
        if (answered) return;
        answered = true;
        this.#try(key);
      });
    if (gateway === null) return void again(AGAIN_MS);
    const { verb, cluster, on, at } = wanted;
    const intent: IntentRecord = { verb, cluster, at, by: "somebody" };
    // One that is killed never answers.
    again(PATIENCE_MS);
    (on ? gateway.put(intent) : gateway.remove(intent)).then(
      () => {
        if (answered) return;
        answered = true;
        if (this.#wanted.get(key) === wanted) this.#open.delete(key);
        else this.#try(key);
      },
      () => void again(AGAIN_MS),
    );
  }

  /** The table says so now. */
  stored(key: string, stands: boolean): void {
    if (stands) this.#lost.delete(key);
  }

  /** The bus has lost its storage, or has that of an older copy. */
  storageLost(stands: (key: string) => boolean): void {
    for (const [key, { on }] of this.#wanted) {
      if (stands(key) === on) continue;
      if (on && this.#gateway()?.knows(key) === true) this.#lost.add(key);
      else this.#tryOn(key);
    }
  }

  gatewayEnded(): void {
    for (const key of this.#lost) this.#tryOn(key);
    this.#lost.clear();
  }

  /** Orders that are not what people have last ordered. */
  differences(stands: (key: string) => boolean): string[] {
    return [...this.#wanted].flatMap(([key, { on }]) => {
      if (stands(key) === on) return [];
      return on ? `the order ${key} is lost` : `the order ${key} stands, though it was taken back`;
    });
  }
}
