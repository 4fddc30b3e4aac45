type LogLine = (fields: object, message?: string) => void;

/** The part of pino's shape that this package uses. */
export interface KubeLogger {
  readonly debug: LogLine;
  readonly info: LogLine;
  readonly warn: LogLine;
  child(fields: Record<string, unknown>): KubeLogger;
}
