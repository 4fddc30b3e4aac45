import { type DestinationStream, pino } from "pino";

export type Logger = pino.Logger;

export interface LoggerOptions {
  readonly service: string;
  /** pino level; default `info`. */
  readonly level?: string;
  /** Where lines go; default stderr, because stdout is for a command's answer. */
  readonly destination?: DestinationStream;
  /** A file that lines are appended to. */
  readonly file?: string;
  readonly pretty?: boolean;
}

/** JSON lines on stderr; pretty when a person looks at it. */
export async function createLogger(options: LoggerOptions): Promise<Logger> {
  const settings: pino.LoggerOptions = {
    level: options.level ?? "info",
    base: { service: options.service },
    timestamp: pino.stdTimeFunctions.isoTime,
    formatters: { level: (label) => ({ level: label }) },
  };
  if (options.destination !== undefined) return pino(settings, options.destination);
  if (options.file !== undefined) {
    return pino(settings, pino.destination({ dest: options.file, append: true, sync: false }));
  }
  if (options.pretty ?? process.stderr.isTTY) {
    const { default: pretty } = await import("pino-pretty");
    return pino(settings, pretty({ destination: 2, sync: true, ignore: "pid,hostname" }));
  }
  return pino(settings, pino.destination({ dest: 2, sync: true }));
}

/** For tests and for code whose caller gave no logger. */
export const silentLogger: Logger = pino({ level: "silent" });
