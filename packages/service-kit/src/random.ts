import { randomUUID } from "node:crypto";

/** Chance as a parameter, so that a simulation can own it and run the same again. */
export interface Random {
  /** From 0 up to, but not, 1. */
  next(): number;
  uuid(): string;
}

export const systemRandom: Random = { next: Math.random, uuid: randomUUID };
