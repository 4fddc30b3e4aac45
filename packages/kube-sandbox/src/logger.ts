type LogLine = (fields: object, message?: string) => void;

/** The part of pino's shape that the sandbox uses: anything with it will do. */
export interface Logger {
  debug: LogLine;
  info: LogLine;
  warn: LogLine;
  error: LogLine;
  child(fields: Record<string, unknown>): Logger;
}

/** What is used when nobody wants to listen. */
export const silentLogger: Logger = {
  debug() {},
  info() {},
  warn() {},
  error() {},
  child: () => silentLogger,
};
