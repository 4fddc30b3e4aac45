import type { IntentRecord } from "@sluice/contracts";
import { BEGAN_AT } from "./virtual-globals.ts";
import type { VirtualTime } from "./virtual-time.ts";

type Verb = "drain" | "unjoin";

/** A gateway, as who talks to it sees it. */
export interface Gateway {
  /** Resolves once the table says so. */
  put(intent: IntentRecord): Promise<unknown>;
  takeBack(order: Pick<IntentRecord, "verb" | "cluster">): Promise<unknown>;
  /** Whether the order stands by the newest word that it has read; null: it has read none. */
  knows(key: string): boolean | null;
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
 * Somebody at the command line, who tries one gateway after the other until one says that the order stands or is taken
 * back. Orders come from no API: what a living gateway knows of them it must bring back itself when the bus has lost it, or
 * has something older; where nobody alive knows, people order again.
 */
export class Operator {
  readonly #time: VirtualTime;
  readonly #gateways: () => readonly Gateway[];
  readonly #wanted = new Map<string, Wanted>();
  /** Orders of which nobody has said yet that they are carried out. */
  readonly #open = new Set<string>();
  /** Orders of which the bus says something else, and that a gateway knows. */
  readonly #lost = new Set<string>();
  #tries = 0;

  constructor(time: VirtualTime, gateways: () => readonly Gateway[]) {
    this.#time = time;
    this.#gateways = gateways;
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
    const gateways = this.#gateways();
    if (wanted === undefined) return;
    let answered = false;
    const again = (ms: number) =>
      this.#time.after(ms, () => {
        if (answered) return;
        answered = true;
        this.#try(key);
      });
    const gateway = gateways[this.#tries++ % gateways.length];
    if (gateway === undefined) return void again(AGAIN_MS);
    const { verb, cluster, on, at } = wanted;
    // One that is killed never answers.
    again(PATIENCE_MS);
    const asked = on
      ? gateway.put({ verb, cluster, at, by: "somebody" })
      : gateway.takeBack({ verb, cluster });
    asked.then(
      () => {
        if (answered) return;
        answered = true;
        if (this.#wanted.get(key) === wanted) this.#open.delete(key);
        else this.#try(key);
      },
      () => void again(AGAIN_MS),
    );
  }

  #isKnown(key: string, on: boolean): boolean {
    return this.#gateways().some((gateway) => gateway.knows(key) === on);
  }

  /**
   * The table says so now.
   * @returns gateways that know better, where people were told otherwise; null: all is as they were told
   */
  stored(key: string, stands: boolean): Gateway[] | null {
    const wanted = this.#wanted.get(key);
    if (wanted === undefined || this.#open.has(key)) return null;
    if (wanted.on === stands) {
      this.#lost.delete(key);
      return null;
    }
    this.#missing(key, wanted.on);
    return this.#gateways().filter((gateway) => gateway.knows(key) === wanted.on);
  }

  #missing(key: string, on: boolean): void {
    if (this.#isKnown(key, on)) this.#lost.add(key);
    else this.#tryOn(key);
  }

  /** The bus has lost its storage, or has that of an older copy. */
  storageLost(stands: (key: string) => boolean): void {
    for (const [key, { on }] of this.#wanted) if (stands(key) !== on) this.#missing(key, on);
  }

  gatewayEnded(): void {
    for (const key of this.#lost) {
      if (this.#isKnown(key, this.#wanted.get(key)?.on === true)) continue;
      this.#lost.delete(key);
      this.#tryOn(key);
    }
  }

  /** Orders that are not what people have last ordered. */
  differences(stands: (key: string) => boolean): string[] {
    return [...this.#wanted].flatMap(([key, { on }]) => {
      if (stands(key) === on) return [];
      return on ? `the order ${key} is lost` : `the order ${key} stands, though it was taken back`;
    });
  }
}
