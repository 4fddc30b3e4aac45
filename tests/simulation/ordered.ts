/** An order about one cluster, over time: whether it stood. */
type States = readonly boolean[];

/** Which orders stand, from the first moment on, as the table says. */
export class Orders {
  readonly #states = new Map<string, boolean[]>();
  /** When the bus lost its storage last, ms of virtual time. */
  lostAt = Number.NEGATIVE_INFINITY;

  /** @param order e.g. `drain.member1` */
  set(order: string, stands: boolean): void {
    const states = this.#states.get(order) ?? [false];
    if (states.at(-1) !== stands) states.push(stands);
    this.#states.set(order, states);
  }

  stands(order: string): boolean {
    return this.states(order).at(-1) === true;
  }

  everStood(order: string): boolean {
    return this.states(order).includes(true);
  }

  states(order: string): States {
    return this.#states.get(order) ?? [false];
  }
}

/**
 * What one nginx makes of the orders to drain: it follows them in order, late perhaps, but goes neither back nor by
 * anything else.
 */
export class ShownDrains {
  readonly #orders: Orders;
  /** Of each cluster the earliest state of the order that this may be. */
  readonly #shown = new Map<string, number>();

  constructor(orders: Orders) {
    this.#orders = orders;
  }

  /** @returns false when no order, as it stood or was taken back, explains it */
  show(cluster: string, drained: boolean): boolean {
    const states = this.#orders.states(`drain.${cluster}`);
    const state = states.indexOf(drained, this.#shown.get(cluster) ?? 0);
    if (state !== -1) this.#shown.set(cluster, state);
    return state !== -1;
  }

  /** It was started anew: what it shows next may be as old as its last good copy. */
  forget(): void {
    this.#shown.clear();
  }
}
