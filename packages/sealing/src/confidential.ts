import { inspect } from "node:util";

const HIDDEN = "[confidential]";

/** A value that shows itself to nobody who did not ask for it: not in a log line, a message, JSON or an inspection. */
export class Confidential<T> {
  readonly #value: T;

  constructor(value: T) {
    this.#value = value;
  }

  reveal(): T {
    return this.#value;
  }

  toString(): string {
    return HIDDEN;
  }

  toJSON(): string {
    return HIDDEN;
  }

  [inspect.custom](): string {
    return HIDDEN;
  }
}
