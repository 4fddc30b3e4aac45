import { createHash } from "node:crypto";
import { cp, mkdir, rm } from "node:fs/promises";
import { join } from "node:path";
import type { FleetSettings } from "@sluice/contracts";
import {
  defaultSettings,
  type ListenerSettings,
  type ProfileSettings,
  readListenerSettings,
} from "@sluice/ingress";
import { defaultCertificateOf, ensureDefaultCertificate } from "./default-certificate.ts";
import { authorityFiles } from "./nginx-backends.ts";
import { type NginxConf, nginxConf, pidFileOf, replySocketPathOf, socketPathOf } from "./nginx-conf.ts";
import { readIfThere, replaceFile } from "./private-file.ts";
import {
  accessLogOf,
  clientTrustOf,
  hstsOf,
  type ProxyFlags,
  requestIdsOf,
  shutdownOf,
} from "./proxy-settings.ts";

/** The parts of native-tools' Tool that matter here. */
export interface NginxTool {
  readonly path: string;
  readonly version: string;
  readonly env: Readonly<Record<string, string>>;
  readonly modules: {
    readonly loadModules: readonly string[];
    readonly luaPackagePath: string;
    readonly luaPackageCpath: string;
  };
}

export interface NginxOptions extends ProxyFlags {
  /** Absolute; made with mode 0700. Its path must leave room for a unix socket's name (107 bytes in all). */
  readonly dir: string;
  readonly tool: NginxTool;
  /** Where clients come in, e.g. `127.0.0.1:31590`. */
  readonly httpAddress: string;
  /** Where TLS clients come in; absent: nowhere. */
  readonly httpsAddress?: string;
  /** The port that clients are sent to who have to come by https. Default: that of `httpsAddress`. */
  readonly httpsPort?: number;
  readonly workers: number;
  /** Milliseconds; 0: off. */
  readonly firstByteTimeoutMs: number;
  /** Shared memory for rows. Default 64: about 200,000 peers. A change of it empties the memory at the next reload. */
  readonly rowsMegabytes?: number;
  /** Shared memory for certificates and what else is secret. Default 128: about 15,000 certificates with RSA keys. */
  readonly secretsMegabytes?: number;
  /** What the fleet says for all its proxies. Default: nothing. */
  readonly listeners?: Partial<ListenerSettings>;
}

export interface PreparedNginx {
  readonly command: string;
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly socketPath: string;
  readonly pidFile: string;
}

/** Written beside nginx.conf for the agent, which is another process and only knows the folder. */
interface Plan {
  readonly options: NginxOptions;
}

/** nginx's secrets as it takes them, keys in clear: 0600, in a folder that is its owner's alone. */
export const secretsPathOf = (dir: string): string => join(dir, "secrets.jsonl");
export const lastGoodPathOf = (dir: string): string => join(dir, "last-good.jsonl");
const planPathOf = (dir: string): string => join(dir, "plan.json");
export const confPathOf = (dir: string): string => join(dir, "nginx.conf");

/** Configuration and settings of one set of profiles, both as text; `hash` is what the API answers once it is in use. */
export interface Rendered {
  readonly hash: string;
  readonly conf: string;
  readonly settingsFile: string;
  readonly settings: string;
  /** What nginx.conf names beside: text by path. */
  readonly files: ReadonlyMap<string, string>;
}

export function confOf(
  options: NginxOptions,
  profiles: ReadonlyMap<string, ProfileSettings>,
  settingsFile: string,
): NginxConf {
  const { listeners = {} } = options;
  const accessLog = accessLogOf(options, listeners);
  const clients = clientTrustOf(options, listeners);
  return {
    dir: options.dir,
    httpAddress: options.httpAddress,
    ...(options.httpsAddress === undefined
      ? {}
      : { https: { address: options.httpsAddress, ...defaultCertificateOf(options.dir) } }),
    version: options.tool.version,
    workers: options.workers,
    loadModules: options.tool.modules.loadModules,
    luaPackagePath: options.tool.modules.luaPackagePath,
    luaPackageCpath: options.tool.modules.luaPackageCpath,
    settingsFile,
    asRoot: process.getuid?.() === 0,
    rowsMegabytes: options.rowsMegabytes ?? 64,
    secretsMegabytes: options.secretsMegabytes ?? 128,
    firstByteTimeoutMs: options.firstByteTimeoutMs,
    shutdownTimeoutMs: shutdownOf(options, listeners),
    ...(accessLog === undefined ? {} : { accessLog }),
    ...(clients === undefined ? {} : { clients }),
    requestIds: requestIdsOf(options, listeners),
    listeners,
    profiles,
  };
}

/** @throws RangeError for a value that cannot stand in nginx.conf */
export function renderNginx(options: NginxOptions, profiles: ReadonlyMap<string, ProfileSettings>): Rendered {
  const all = new Map([["default", defaultSettings], ...profiles]);
  const build = (settingsFile: string) => nginxConf(confOf(options, all, settingsFile));
  const { listeners = {} } = options;
  const facts = {
    firstByteMs: options.firstByteTimeoutMs,
    ...(accessLogOf(options, listeners) === undefined ? {} : { accessLog: true }),
    ...(listeners.unloggedUrls === undefined ? {} : { unlogged: unloggedOf(listeners.unloggedUrls) }),
    lastGood: lastGoodPathOf(options.dir),
    secrets: secretsPathOf(options.dir),
    hsts: hstsOf(listeners),
    httpsPort: options.httpsPort ?? Number(options.httpsAddress?.split(":").at(-1) ?? 443),
    replies: replySocketPathOf(options.dir),
    profiles: Object.fromEntries(
      [...all].map(([name, s]) => [
        name,
        {
          readMs: s.readTimeoutMs,
          maxBodyBytes: s.maxBodyBytes,
          tries: s.nextTries,
          // nginx's own server could not answer in the place of its peers.
          ...(s.rewrites || s.protocol !== "http" ? { rewrites: true } : {}),
          ...(s.nextUpstream.split(" ").includes("non_idempotent") ? { replays: true } : {}),
          retries: s.nextTries !== 1 && s.nextUpstream.split(" ").includes("timeout"),
        },
      ]),
    ),
  };
  const hash = createHash("sha256")
    .update(build(""))
    .update(JSON.stringify(facts))
    .digest("hex")
    .slice(0, 16);
  // A name of its own per content: going back to an older nginx.conf goes back to its settings too.
  const settingsFile = join(options.dir, `settings-${hash}.json`);
  return {
    hash,
    conf: build(settingsFile),
    settingsFile,
    settings: `${JSON.stringify({ config: hash, ...facts })}\n`,
    files: authorityFiles(all.values(), options.dir),
  };
}

function unloggedOf(urls: string): Record<string, true> {
  return Object.fromEntries(urls.split(",").flatMap((url) => (url === "" ? [] : [[url, true]])));
}

/**
 * Writes all that nginx needs into `dir` and says how it is started. Whoever starts it again after it ended may use the
 * same answer. The profiles of a folder that was used before are kept, so that nginx serves what it served.
 */
export async function prepareNginx(options: NginxOptions): Promise<PreparedNginx> {
  const { dir, tool } = options;
  await mkdir(join(dir, "temp"), { recursive: true, mode: 0o700 });
  await rm(join(dir, "lua"), { recursive: true, force: true });
  await cp(join(import.meta.dirname, "../nginx/lua"), join(dir, "lua"), { recursive: true });
  if (options.httpsAddress !== undefined) await ensureDefaultCertificate(dir);
  const rendered = renderNginx({ ...options, listeners: await keptListeners(dir) }, await keptProfiles(dir));
  await replaceFile(rendered.settingsFile, rendered.settings);
  for (const [path, text] of rendered.files) await replaceFile(path, text);
  await replaceFile(confPathOf(dir), rendered.conf);
  await replaceFile(planPathOf(dir), `${JSON.stringify({ options } satisfies Plan)}\n`);
  const socketPath = socketPathOf(dir);
  return {
    // Sockets that a killed nginx left would keep the next one from listening.
    command: "/bin/sh",
    args: [
      "-c",
      'rm -f "$0" "$1"; shift; exec "$@"',
      socketPath,
      replySocketPathOf(dir),
      ...nginxCommand(options, confPathOf(dir)),
    ],
    env: tool.env,
    socketPath,
    pidFile: pidFileOf(dir),
  };
}

export function nginxCommand(options: NginxOptions, confPath: string): string[] {
  return [options.tool.path, "-p", options.dir, "-e", join(options.dir, "error.log"), "-c", confPath];
}

/** The options that the nginx in this folder was prepared with; null: none was. */
export async function readPlan(dir: string): Promise<NginxOptions | null> {
  const text = await readIfThere(planPathOf(dir));
  // Our own file in a folder that is ours alone: its shape is not in question.
  return text === null ? null : (JSON.parse(text) as Plan).options;
}

const profilesPathOf = (dir: string): string => join(dir, "profiles.json");

export async function keepProfiles(
  dir: string,
  profiles: ReadonlyMap<string, ProfileSettings>,
): Promise<void> {
  await replaceFile(profilesPathOf(dir), `${JSON.stringify([...profiles])}\n`);
}

/** Profiles of the configuration with which nginx last came up well. */
export async function keptProfiles(dir: string): Promise<Map<string, ProfileSettings>> {
  const text = (await readIfThere(profilesPathOf(dir))) ?? "[]";
  const kept = JSON.parse(text) as [string, Partial<ProfileSettings>][];
  // An earlier version knew fewer settings.
  return new Map(kept.map(([name, settings]) => [name, { ...defaultSettings, ...settings }]));
}

const listenersPathOf = (dir: string): string => join(dir, "fleet-settings.json");

export async function keepListeners(dir: string, listeners: Partial<ListenerSettings>): Promise<void> {
  await replaceFile(listenersPathOf(dir), `${JSON.stringify(listeners)}\n`);
}

/** What the fleet said of listeners in the configuration with which nginx last came up well. */
export async function keptListeners(dir: string): Promise<Partial<ListenerSettings>> {
  const text = (await readIfThere(listenersPathOf(dir))) ?? "{}";
  // Our own file; a version that was put back may know fewer of them.
  return readListenerSettings(JSON.parse(text) as FleetSettings).settings;
}
