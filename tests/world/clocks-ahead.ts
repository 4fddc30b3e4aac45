const CLOCKS_AHEAD = "CLOCKS_AHEAD";

/** By how much the clocks of services are ahead, ms; negative: behind. */
export type ClocksAhead = Readonly<Record<string, number>>;

/** For Node, before the file that it runs: those services' processes have wrong clocks, all others' are right. */
export const wrongClockArgs: readonly string[] = [
  "--import",
  new URL("wrong-clock.ts", import.meta.url).href,
];

/** The environment that goes with it. */
export function wrongClockEnv(clocks: ClocksAhead): Record<string, string> {
  const text = Object.entries(clocks).map(([service, ms]) => `${service}=${ms}`);
  return { [CLOCKS_AHEAD]: text.join(",") };
}

/** @param entry path of the file that Node runs, e.g. `…/services/aggregator/src/main.ts` */
export function clockAhead(entry: string, env: Readonly<Record<string, string | undefined>>): number {
  const service = /\/services\/([^/]+)\/src\//.exec(entry)?.[1];
  for (const pair of (env[CLOCKS_AHEAD] ?? "").split(",")) {
    const [name, ms] = pair.split("=");
    if (name === service && ms !== undefined) return Number(ms);
  }
  return 0;
}
