import { registerHooks } from "node:module";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

/** One piece of the product's text, and what takes its place. */
export interface Mutation {
  readonly name: string;
  /** From the root of the checkout. */
  readonly file: string;
  /** It stands there exactly once. */
  readonly from: string;
  readonly to: string;
}

/** Changes the product's text while it is loaded; the files stay as they are. To be called before it is imported. */
export function takeAway({ name, file, from, to }: Mutation): void {
  const url = pathToFileURL(join(import.meta.dirname, "../..", file)).href;
  registerHooks({
    load(loaded, context, next) {
      const result = next(loaded, context);
      if (loaded !== url) return result;
      const text = String(result.source);
      const times = text.split(from).length - 1;
      if (times !== 1) {
        throw new Error(
          `the fence "${name}" has moved: its text stands ${times} times in ${file}, not once: ${from}`,
        );
      }
      return { ...result, source: text.replace(from, () => to) };
    },
  });
}
