import { execFile } from "node:child_process";
import { copyFile, readFile, rename, rm, writeFile } from "node:fs/promises";
import { promisify } from "node:util";
import type { ProfileSettings } from "@sluice/ingress";
import { type Clock, slept } from "@sluice/service-kit";
import type { NginxClient } from "./nginx-client.ts";
import { pidFileOf } from "./nginx-conf.ts";
import {
  confPathOf,
  keepListeners,
  keepProfiles,
  type NginxOptions,
  nginxCommand,
  type Rendered,
  renderNginx,
} from "./prepare-nginx.ts";
import { replaceFile } from "./private-file.ts";
import { type ProbeFailure, probeProfiles } from "./probe-profiles.ts";

export interface ReloadPorts {
  readonly nginx: NginxClient;
  readonly clock: Clock;
  readonly signal: AbortSignal;
  /** Milliseconds until new workers must answer. Default 10,000. */
  readonly newWorkersMs?: number;
}

export type ReloadOutcome =
  | { readonly ok: true }
  /** `profile`: the one that did it, where that is known. */
  | { readonly ok: false; readonly why: string; readonly profile?: string };

/** What is asked of nginx once its new workers are up. */
export interface ReloadCheck {
  /** Names of the profiles through whose locations it has to answer. */
  readonly probes: readonly string[];
  /** For how long it has to go on answering; 0: once will do. */
  readonly probationMs: number;
}

/** Milliseconds. */
const NEW_WORKERS_MS = 10_000;
const TEST_MS = 10_000;
const POLL_MS = 20;

/** nginx's own judgement of a configuration file. @returns what is wrong, or null */
async function test(options: NginxOptions, confPath: string, signal: AbortSignal): Promise<string | null> {
  const [program = "", ...args] = nginxCommand(options, confPath);
  try {
    await promisify(execFile)(program, [...args, "-t", "-q"], {
      env: { ...process.env, ...options.tool.env },
      signal,
      timeout: TEST_MS,
    });
    return null;
  } catch (error) {
    signal.throwIfAborted();
    const said = (error as { stderr?: string }).stderr?.trim().split("\n")[0];
    return said || (error as Error).message;
  }
}

/** Sends SIGHUP and waits until a worker with this configuration answers. @returns why none does, or null */
async function signalReload(dir: string, config: string, ports: ReloadPorts): Promise<string | null> {
  const pid = Number((await readFile(pidFileOf(dir), "utf8")).trim());
  if (!Number.isInteger(pid) || pid <= 1) return `${pidFileOf(dir)} holds no pid`;
  process.kill(pid, "SIGHUP");
  const limitMs = ports.newWorkersMs ?? NEW_WORKERS_MS;
  const deadline = ports.clock.monotonic() + limitMs;
  let last = "no worker answers";
  while (ports.clock.monotonic() < deadline) {
    try {
      const state = await ports.nginx.state(ports.signal, true);
      // Until the old ones have stopped listening, a request may meet one that does not know the new profiles.
      if (state.config === config && (state.old ?? 0) === 0) return null;
      last = "the old workers still listen";
    } catch (error) {
      ports.signal.throwIfAborted();
      last = (error as Error).message;
    }
    if (!(await slept(ports.clock, POLL_MS, ports.signal))) break;
  }
  ports.signal.throwIfAborted();
  return `no worker with the new configuration within ${limitMs / 1000} s: ${last}`;
}

/**
 * Brings nginx to a configuration with these profiles: tested first, swapped in as a whole, and taken back when no
 * worker comes up with it. nginx serves all the time.
 */
export async function reloadNginx(
  options: NginxOptions,
  profiles: ReadonlyMap<string, ProfileSettings>,
  ports: ReloadPorts,
  check: ReloadCheck = { probes: [], probationMs: 0 },
): Promise<ReloadOutcome> {
  let next: Rendered;
  try {
    next = renderNginx(options, profiles);
  } catch (error) {
    return { ok: false, why: (error as Error).message };
  }
  const probe = () => probeProfiles(options, check, ports);
  const keep = async () => {
    await keepListeners(options.dir, options.listeners ?? {});
    await keepProfiles(options.dir, profiles);
  };
  return swapConfiguration(options, next, ports, keep, probe);
}

/** The profile whose location holds the line that nginx complains of. */
function profileAt(conf: string, complaint: string): string | undefined {
  const line = / in \S+:([0-9]+)$/.exec(complaint)?.[1];
  if (line === undefined) return undefined;
  const above = conf.split("\n").slice(0, Number(line)).reverse();
  const opened = above.find((text) => /^ {4}\S.*\{$/.test(text));
  const name = /^ {4}location @profile_([0-9a-z]+) \{$/.exec(opened ?? "")?.[1];
  return name === "default" ? undefined : name;
}

/** The swap itself; apart, so that a test can hand it what the emitter would never write. */
export async function swapConfiguration(
  options: NginxOptions,
  next: Rendered,
  ports: ReloadPorts,
  keep: () => Promise<void>,
  probe: () => Promise<ProbeFailure | null> = async () => null,
): Promise<ReloadOutcome> {
  const current = confPathOf(options.dir);
  const trial = `${current}.new`;
  const old = `${current}.old`;
  const before = (await ports.nginx.state(ports.signal)).config;
  await replaceFile(next.settingsFile, next.settings);
  for (const [path, text] of next.files) await replaceFile(path, text);
  await writeFile(trial, next.conf, { mode: 0o600 });
  const problem = await test(options, trial, ports.signal);
  if (problem !== null) {
    await rm(trial, { force: true });
    return failedWith(problem, profileAt(next.conf, problem));
  }
  await copyFile(current, old);
  await rename(trial, current);
  const notUp = await signalReload(options.dir, next.hash, ports);
  const failed = notUp === null ? await probed(probe, ports.signal) : { why: notUp };
  if (failed === null) {
    await keep();
    return { ok: true };
  }
  await rename(old, current);
  const back = await signalReload(options.dir, before, ports);
  return failedWith(back === null ? failed.why : `${failed.why}; and going back: ${back}`, failed.profile);
}

async function probed(
  probe: () => Promise<ProbeFailure | null>,
  signal: AbortSignal,
): Promise<ProbeFailure | null> {
  try {
    return await probe();
  } catch (error) {
    signal.throwIfAborted();
    return { why: `nginx could not be asked whether it answers: ${(error as Error).message}` };
  }
}

function failedWith(why: string, profile?: string): ReloadOutcome {
  return { ok: false, why, ...(profile === undefined ? {} : { profile }) };
}
