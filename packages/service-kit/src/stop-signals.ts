/** Why a process is to stop: the signal that it got, or an error that nobody caught. */
export type StopCause = { readonly signal: NodeJS.Signals } | { readonly error: unknown };

const SIGNALS = ["SIGTERM", "SIGINT", "SIGHUP"] as const;

/**
 * Calls `stop` on the first signal or uncaught error. What comes after it changes nothing, because a launcher that
 * forwards signals and a terminal that sends them to everybody both tell us, and the order of a stop must hold then too.
 * @param late called when `deadlineMs` have gone by since then and nobody disposed of this
 */
export function onStopSignal(
  deadlineMs: number,
  stop: (cause: StopCause) => void,
  late: () => void,
): Disposable {
  let timer: NodeJS.Timeout | undefined;
  const begin = (cause: StopCause) => {
    if (timer !== undefined) return;
    timer = setTimeout(late, deadlineMs).unref();
    stop(cause);
  };
  const onSignal = (signal: NodeJS.Signals) => begin({ signal });
  const onError = (error: unknown) => begin({ error });
  for (const signal of SIGNALS) process.on(signal, onSignal);
  process.on("uncaughtException", onError);
  return {
    [Symbol.dispose]() {
      clearTimeout(timer);
      for (const signal of SIGNALS) process.off(signal, onSignal);
      process.off("uncaughtException", onError);
    },
  };
}
