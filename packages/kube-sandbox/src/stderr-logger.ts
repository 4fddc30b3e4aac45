import type { Logger } from "./logger.ts";

/** Warnings and errors as lines of JSON on stderr: stdout is for the one line that says where everything is. */
export function stderrLogger(bindings: Record<string, unknown> = {}): Logger {
  const line = (level: string) => (fields: object, message?: string) => {
    const entry = { level, time: Date.now(), ...bindings, ...fields, msg: message };
    process.stderr.write(`${JSON.stringify(entry, printable)}\n`);
  };
  const silent = () => {};
  return {
    debug: silent,
    info: silent,
    warn: line("warn"),
    error: line("error"),
    child: (more) => stderrLogger({ ...bindings, ...more }),
  };
}

/** Errors have no enumerable members. */
function printable(_key: string, value: unknown): unknown {
  return value instanceof Error ? { type: value.name, message: value.message, stack: value.stack } : value;
}
