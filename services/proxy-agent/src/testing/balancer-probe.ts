import { copyFile, mkdtemp, rm, writeFile } from "node:fs/promises";
import { request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestContext } from "node:test";
import type { Balance } from "@sluice/contracts";
import { ensureTool, freePort } from "@sluice/native-tools";
import { httpBasics, luaDirectives, processDirectives, socketPathOf } from "../nginx-conf.ts";
import { startNginx } from "../nginx-process.ts";
import type { NginxRow } from "../nginx-row.ts";
import { directive, lua, number, render, unixSocket, word } from "../nginx-text.ts";
import { confPathOf, prepareNginx } from "../prepare-nginx.ts";
import { testConf } from "../testing.ts";

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
  const tool = await ensureTool("nginx", { signal: t.signal });
  const dir = await mkdtemp(join(tmpdir(), "sluice-pr-"));
  const options = {
    dir,
    tool,
    httpAddress: `127.0.0.1:${await freePort()}`,
    workers: 1,
    firstByteTimeoutMs: 0,
  };
  const prepared = await prepareNginx(options);
  await copyFile(join(import.meta.dirname, "choices.lua"), join(dir, "lua/choices.lua"));
  const conf = testConf(options);
  // Modules keep `ngx.now` when they are loaded.
  const clock = lua(
    "init_by_lua_block",
  )`ngx.now = function() return package.loaded.choices and package.loaded.choices.now or 1000 end; `;
  const directives = luaDirectives(conf).map((each) =>
    "name" in each && each.name === "init_by_lua_block" && "lua" in each && "lua" in clock
      ? { name: each.name, lua: `${clock.lua}${each.lua}` }
      : each,
  );
  const socketPath = socketPathOf(dir);
  await writeFile(
    confPathOf(dir),
    render([
      ...processDirectives(conf),
      directive(
        "http",
        [],
        [
          ...httpBasics(conf),
          ...directives,
          directive(
            "server",
            [],
            [
              directive("listen", [unixSocket(socketPath)]),
              directive("client_max_body_size", [number(0)]),
              directive("client_body_buffer_size", [word`16m`]),
              directive("location", [word`/`], [lua("content_by_lua_block")`require("choices").serve()`]),
            ],
          ),
        ],
      ),
    ]),
  );
  const nginx = await startNginx(prepared, socketPath, t.signal);
  t.after(async () => {
    await nginx.stop();
    await rm(dir, { recursive: true, force: true });
  });
  const ask = (steps: readonly Step[]) => post(socketPath, JSON.stringify(steps), t.signal);
  return {
    choose: async (...steps) => ((await ask(steps)) as (string[] | null)[]).map((choices) => choices ?? []),
    sessions: async (step) => {
      const [found] = (await ask([step])) as [string, string][][];
      return (found ?? []).map(([peer, cookie]) => ({ peer, cookie }));
    },
  };
}

async function post(socketPath: string, body: string, signal: AbortSignal): Promise<unknown> {
  const text = await new Promise<string>((resolve, reject) => {
    const sent = request({ socketPath, path: "/", method: "POST", signal }, (response) => {
      let said = "";
      response.on("data", (chunk: Buffer) => {
        said += chunk.toString();
      });
      response.on("error", reject);
      response.on("end", () =>
        response.statusCode === 200 ? resolve(said) : reject(new Error(`${response.statusCode} ${said}`)),
      );
    });
    sent.on("error", reject);
    sent.end(body);
  });
  return JSON.parse(text);
}
