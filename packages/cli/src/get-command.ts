import { ConfigError, type LogGap } from "@sluice/contracts";
import { columns } from "./columns.ts";
import { gatewayAddress } from "./gateway.ts";
import { describeGap, instant, moment, outputFormat, place, warn } from "./past-options.ts";
import type { Told } from "./table-rows.ts";

export interface GetOptions {
  readonly gateway?: string;
  readonly at?: string;
  readonly output: string;
}

/** What is asked for. */
export interface Getting {
  readonly gateway: string;
  readonly name: string | undefined;
  /** A moment as the gateway reads it; undefined: now. */
  readonly at: string | undefined;
  /** As a table: with all columns. */
  readonly wide: boolean;
}

/** One answer: as programs read it, and as people do. */
export interface Got {
  readonly told: Told;
  readonly gaps: readonly LogGap[];
  /** What stands beside `at` in JSON and YAML. */
  readonly answer: Readonly<Record<string, unknown>>;
  /** Tables, the first row of each its head; behind the first one only those that have rows are shown. */
  readonly tables: readonly { readonly title?: string; readonly rows: readonly (readonly string[])[] }[];
}

/** Loaded when it is asked for. `past`: the log has what it is made of. */
const kinds: Readonly<
  Record<string, { readonly past: boolean; load(): Promise<(asked: Getting) => Promise<Got>> }>
> = {
  services: { past: true, load: async () => (await import("./get-services.ts")).getServices },
  routes: { past: true, load: async () => (await import("./get-routes.ts")).getRoutes },
  peers: { past: false, load: async () => (await import("./get-peers.ts")).getPeers },
  proxies: { past: false, load: async () => (await import("./get-proxies.ts")).getProxies },
  certificates: { past: false, load: async () => (await import("./get-certificates.ts")).getCertificates },
};

/** `sluice get services|routes|peers|proxies|certificates [NAME]`: what there is; of the first two, or was at a moment. */
export async function getCommand(
  what: string,
  name: string | undefined,
  options: GetOptions,
): Promise<number> {
  const format = outputFormat(options.output, ["table", "wide", "json", "yaml"]);
  const kind = kinds[what];
  if (kind === undefined) {
    const [last, ...others] = Object.keys(kinds).reverse();
    throw new ConfigError(`get ${what}: write ${others.reverse().join(", ")} or ${last}`);
  }
  if (options.at !== undefined && !kind.past) {
    throw new ConfigError(`get ${what} --at: the log holds services and routes alone; leave --at out`);
  }
  const ask = await kind.load();
  const { told, gaps, answer, tables } = await ask({
    gateway: gatewayAddress(options.gateway),
    name,
    at: moment(options.at),
    wide: format === "wide",
  });
  for (const gap of gaps) warn(describeGap(gap));
  if (told.seq !== undefined) warn(`as of ${place({ ...told, seq: told.seq })}`);
  if (format === "json") process.stdout.write(`${JSON.stringify({ at: told, ...answer }, null, 2)}\n`);
  else if (format === "yaml") {
    const { stringify } = await import("yaml");
    process.stdout.write(stringify({ at: told, ...answer }));
  } else print(tables);
  return 0;
}

function print(tables: Got["tables"]): void {
  const [first, ...others] = tables;
  if (first === undefined || first.rows.length <= 1) warn("there is nothing");
  const shown = [first, ...others].filter((table) => table !== undefined && table.rows.length > 1);
  for (const [i, table] of shown.entries()) {
    if (i > 0) process.stdout.write("\n");
    if (table?.title !== undefined) process.stdout.write(`${table.title}\n`);
    for (const line of columns(table?.rows ?? [])) process.stdout.write(`${line}\n`);
  }
}

/** `2026-12-23T21:08:36Z (in 29 d)` */
export function untilWords(at: number, now: number): string {
  const seconds = Math.round((at - now) / 1000);
  const [of, unit] = spanOf(Math.abs(seconds));
  const when = seconds < 0 ? `${of} ${unit} ago` : `in ${of} ${unit}`;
  return `${instant(at).replace(/\.\d+Z$/, "Z")} (${when})`;
}

/** `3 s ago`, `2 d ago` */
export function ago(ms: number): string {
  if (ms < 1000) return "now";
  const [of, unit] = spanOf(Math.round(ms / 1000));
  return `${of} ${unit} ago`;
}

function spanOf(seconds: number): [number, string] {
  if (seconds < 120) return [seconds, "s"];
  if (seconds < 7200) return [Math.floor(seconds / 60), "min"];
  if (seconds < 172_800) return [Math.floor(seconds / 3600), "h"];
  return [Math.floor(seconds / 86_400), "d"];
}
