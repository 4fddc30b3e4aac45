import { styleText } from "node:util";

/** Shows each step with its time as it goes; on stderr, because stdout is for the answer. */
export interface Steps {
  run<T>(name: string, action: () => Promise<T>, detail?: (result: T) => string): Promise<T>;
  note(text: string): void;
}

function seconds(ms: number): string {
  return ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`;
}

export function createSteps(out: NodeJS.WritableStream & { readonly isTTY?: boolean }): Steps {
  const live = out.isTTY === true;
  const paint = (style: "green" | "red" | "dim", text: string) => (live ? styleText(style, text) : text);
  return {
    async run(name, action, detail) {
      const began = performance.now();
      const running = live
        ? setInterval(() => out.write(`\r  ${name} … ${seconds(performance.now() - began)} `), 200)
        : null;
      try {
        const result = await action();
        const more = detail === undefined ? "" : ` ${detail(result)}`;
        const time = paint("dim", seconds(performance.now() - began));
        out.write(`${live ? "\r\x1b[K" : ""}${paint("green", "✔")} ${name}${more} ${time}\n`);
        return result;
      } catch (error) {
        out.write(`${live ? "\r\x1b[K" : ""}${paint("red", "✘")} ${name}\n`);
        throw error;
      } finally {
        if (running !== null) clearInterval(running);
      }
    },
    note: (text) => void out.write(`${text}\n`),
  };
}
