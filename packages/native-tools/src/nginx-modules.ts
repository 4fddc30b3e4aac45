import { mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { runCommand } from "./run-command.ts";

/** What an nginx.conf must say so that this nginx has Lua, resty.core and cjson. */
export interface NginxModules {
  /** Whole lines with absolute paths; empty where Lua is compiled in. */
  readonly loadModules: readonly string[];
  /** Value of lua_package_path without the closing `;;`; empty: the built-in one will do. */
  readonly luaPackagePath: string;
  readonly luaPackageCpath: string;
}

/** ndk first: the Lua module needs its symbols. */
const moduleFiles = ["ndk_http_module.so", "ngx_http_lua_module.so"];

async function loadLines(folder: string): Promise<string[]> {
  const there = new Set(await readdir(folder).catch(() => []));
  return moduleFiles.every((file) => there.has(file))
    ? moduleFiles.map((file) => `load_module ${join(folder, file)};`)
    : [];
}

/** @param root the folder that packages were unpacked into; null for an installed nginx, which is asked itself */
export async function nginxModules(
  path: string,
  root: string | null,
  env: Readonly<Record<string, string>>,
  signal: AbortSignal,
): Promise<NginxModules> {
  if (root === null) {
    const { output } = await runCommand(path, ["-V"], { signal, timeoutMs: 10_000, env });
    const folder = /--modules-path=(\S+)/.exec(output)?.[1] ?? "/usr/lib/nginx/modules";
    const compiledIn = /--add-module=\S*(lua-nginx|ngx_lua)/.test(output);
    return {
      loadModules: compiledIn ? [] : await loadLines(folder),
      luaPackagePath: "",
      luaPackageCpath: "",
    };
  }
  const libraries = await readdir(join(root, "usr/lib")).catch(() => []);
  const triplet = libraries.find((name) => name.includes("-linux-")) ?? "";
  return {
    loadModules: await loadLines(join(root, "usr/lib/nginx/modules")),
    luaPackagePath: `${join(root, "usr/share/lua/5.1")}/?.lua`,
    luaPackageCpath: `${join(root, "usr/lib", triplet, "lua/5.1")}/?.so`,
  };
}

/** Lets nginx itself test a configuration that needs everything we use. @returns why it will not do, or null */
export async function probeNginx(
  path: string,
  modules: NginxModules,
  env: Readonly<Record<string, string>>,
  signal: AbortSignal,
): Promise<string | null> {
  const dir = await mkdtemp(join(tmpdir(), "sluice-nginx-probe-"));
  try {
    const temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
    const conf = [
      ...modules.loadModules,
      `error_log stderr emerg; pid ${dir}/pid; events {}`,
      "http { access_log off;",
      ...temporary.map((kind) => `${kind}_temp_path ${dir}/${kind};`),
      ...(modules.luaPackagePath === "" ? [] : [`lua_package_path "${modules.luaPackagePath};;";`]),
      ...(modules.luaPackageCpath === "" ? [] : [`lua_package_cpath "${modules.luaPackageCpath};;";`]),
      'init_by_lua_block { require "resty.core"; require "cjson.safe"; require "ngx.balancer" } }',
    ];
    await writeFile(join(dir, "nginx.conf"), `${conf.join("\n")}\n`);
    const { status, output } = await runCommand(
      path,
      ["-t", "-q", "-p", dir, "-c", join(dir, "nginx.conf")],
      {
        signal,
        timeoutMs: 10_000,
        env,
      },
    );
    if (status === 0) return null;
    return `${path} lacks the Lua module, lua-resty-core or lua-cjson (${output.trim().split("\n")[0] ?? "no output"})`;
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
}
