import { parseArgs } from "node:util";
import { ConfigError } from "@sluice/contracts";
import { plants } from "./plants.ts";

export interface Arguments {
  readonly objects: number;
  readonly seed: string;
  /** Name of a rule that is taken away. */
  readonly plant: string | null;
  readonly help: boolean;
}

export const USAGE = `npm run -s fuzz -- [--objects N] [--seed S] [--plant RULE]

Gives hostile objects to the model, the agent's rows, the emitter of nginx.conf and a real nginx, and says what came out
of one that nobody asked for.
  --objects N   how many; default 2,000. Object i of seed S is the object of seed S-i.
  --seed S      any text; default: a fresh one, which is printed. The seed of one object, as a violation names it (S-i),
                runs that one alone.
  --plant RULE  takes a rule away, which must be found: ${plants.map(({ name }) => name).join(", ")}
Exits with 0: nothing was violated, 1: something was, 64: an argument is wrong.
`;

/** @throws ConfigError */
export function readArguments(argv: readonly string[]): Arguments {
  let values: ReturnType<typeof parse>;
  try {
    values = parse(argv);
  } catch (error) {
    throw new ConfigError((error as Error).message, { cause: error });
  }
  const { seed, plant, objects, help = false } = values;
  const count = Number(objects ?? "2000");
  if (!Number.isSafeInteger(count) || count < 1) {
    throw new ConfigError(`--objects ${objects}: it must be a whole number from 1`);
  }
  if (seed === "") throw new ConfigError("--seed: it must not be empty");
  if (plant !== undefined && !plants.some(({ name }) => name === plant)) {
    throw new ConfigError(`--plant ${plant}: it must be one of ${plants.map(({ name }) => name).join(", ")}`);
  }
  const fresh = () => Math.floor(Math.random() * 1e9).toString(36);
  return { objects: count, seed: seed ?? fresh(), plant: plant ?? null, help };
}

function parse(argv: readonly string[]) {
  return parseArgs({
    args: [...argv],
    options: {
      objects: { type: "string" },
      seed: { type: "string" },
      plant: { type: "string" },
      help: { type: "boolean", short: "h" },
    },
  }).values;
}
