import type { TestContext } from "node:test";
import type { Balance } from "@sluice/contracts";
import type { NginxRow } from "../nginx-row.ts";
import { luaProbe } from "./lua-probe.ts";

/** Rows to apply, then choices of one upstream. Its clock stands still but for `tick`. */
export interface Step {
  readonly rows?: readonly NginxRow[];
  readonly of?: string;
  readonly balance?: Balance;
  /** That many choices, with `open` requests in hand at any time. */
  readonly times?: number;
  readonly open?: number;
  /** Seconds between two requests. */
  readonly tick?: number;
  /** Seconds until a peer's first byte, by address; a thousandth where nothing is said. */
  readonly seconds?: Readonly<Record<string, number>>;
  /** Addresses that never answer. */
  readonly frozen?: readonly string[];
  /** One choice a value of `$arg_key`. */
  readonly keys?: readonly string[];
  /** One choice a value of the Cookie header, `""`: none. */
  readonly cookies?: readonly string[];
  /** The first choice fails, what is answered is the second. */
  readonly fails?: boolean;
  /** Seconds that pass first; then what befalls peers of the upstream `at`, by address. */
  readonly passed?: number;
  readonly at?: string;
  /** A failed request each; `answers`: its cluster has answered another one since. */
  readonly failures?: readonly (readonly [address: string, status: number, answers: boolean])[];
  /** By the agent's checks. */
  readonly out?: readonly string[];
  readonly back?: readonly string[];
  /** In turn: so many requests come, so many seconds pass, so many are to be sent again; answered is how many may. */
  readonly budget?: readonly (readonly [requests: number, seconds: number, again: number])[];
}

export interface BalancerProbe {
  /** Addresses of the peers chosen, `""` for none, by step. */
  choose(...steps: Step[]): Promise<string[][]>;
  /** The same of one step with cookies, each with the Set-Cookie that goes with it, `""` for none. */
  sessions(step: Step): Promise<{ peer: string; cookie: string }[]>;
}

/** The proxy's Lua in a real nginx, asked which peers it would choose. */
export async function balancerProbe(t: TestContext): Promise<BalancerProbe> {
  const ask = await luaProbe<readonly Step[]>(t, "choices");
  return {
    choose: async (...steps) => ((await ask(steps)) as (string[] | null)[]).map((choices) => choices ?? []),
    sessions: async (step) => {
      const [found] = (await ask([step])) as [string, string][][];
      return (found ?? []).map(([peer, cookie]) => ({ peer, cookie }));
    },
  };
}
