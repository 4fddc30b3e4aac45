// The proxy's Lua in a real nginx, with a module of a test beside it that is asked over a socket.
import { copyFile, mkdtemp, rm, writeFile } from "node:fs/promises";
import { request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { ensureTool, freePort } from "@sluice/native-tools";
import { httpBasics, luaDirectives, processDirectives, socketPathOf } from "../nginx-conf.ts";
import { startNginx } from "../nginx-process.ts";
import { directive, lua, number, render, unixSocket, word } from "../nginx-text.ts";
import { confPathOf, prepareNginx } from "../prepare-nginx.ts";
import { testConf } from "../testing.ts";

/**
 * @param name of the module: a file beside this one, whose `serve` answers. Its `now` is what all others take for the time.
 * @returns what it answers to a question, both as JSON
 */
export async function luaProbe<Question>(
  t: TestContext,
  name: "choices" | "limited" | "ranges",
): Promise<(question: Question) => Promise<unknown>> {
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
  await copyFile(join(import.meta.dirname, `${name}.lua`), join(dir, `lua/${name}.lua`));
  const conf = testConf(options);
  // Modules keep `ngx.now` when they are loaded.
  const clock = lua(
    "init_by_lua_block",
  )`ngx.now = function() local probe = package.loaded[${name}] return probe and probe.now or 1000 end; `;
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
              directive("location", [word`/`], [lua("content_by_lua_block")`require(${name}).serve()`]),
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
  return (question) => post(socketPath, JSON.stringify(question), t.signal);
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
