import { isDeepStrictEqual } from "node:util";
import { JetStreamApiError, type JetStreamManager, type StreamConfig } from "@nats-io/jetstream";
import { BusAssetError } from "@sluice/contracts";
import { type Asset, assetGroups, type Settings } from "./assets.ts";
import { isMissing } from "./nats-messages.ts";
import type { PatientApi } from "./patient-api.ts";

const STREAM_NAME_IN_USE = 10058;
/** The limit that is asked for is more than the server may store. */
const NO_STORAGE = new Set([10023, 10047]);
const LEAST_BYTES = 2 ** 24;

export interface ProvisionOptions {
  /** Copies of each stream, at least; fewer are raised, more are left as they are. */
  readonly replicas: number;
}

function code(error: unknown): number {
  return error instanceof JetStreamApiError ? error.code : 0;
}

/**
 * Creates what is missing and compares each stream, as the server echoes it, with what Sluice needs.
 * @param jsm for what is written, which is asked once and waited for
 * @returns the buckets of tables that were missing
 * @throws BusAssetError naming stream, setting, what is there and what is needed
 */
export async function provision(
  api: PatientApi,
  jsm: JetStreamManager,
  options: ProvisionOptions,
): Promise<string[]> {
  const made: string[] = [];
  const wrong: string[] = [];
  for (const group of assetGroups) {
    const results = await Promise.all(group.map((asset) => provisionOne(api, jsm, asset, options)));
    for (const [i, { created, differences }] of results.entries()) {
      wrong.push(...differences);
      if (created && group[i]!.holdsTable) made.push(group[i]!.settings.name);
    }
  }
  if (wrong.length > 0) {
    throw new BusAssetError(`${wrong.join("; ")}. Undo the change, or delete the bucket: it comes back.`);
  }
  return made;
}

interface Provisioned {
  readonly created: boolean;
  readonly differences: readonly string[];
}

async function provisionOne(
  api: PatientApi,
  jsm: JetStreamManager,
  asset: Asset,
  { replicas }: ProvisionOptions,
): Promise<Provisioned> {
  const { settings } = asset;
  let { limits } = asset;
  for (let created = false; ; ) {
    try {
      const { config } = await api.ask((each) => each.streams.info(settings.name));
      const differences = compareSettings(settings, config);
      if (differences.length > 0) return { created, differences };
      if (config.num_replicas < replicas) {
        await jsm.streams.update(settings.name, { ...config, num_replicas: replicas });
      }
      return { created, differences };
    } catch (error) {
      if (!isMissing(error)) throw error;
    }
    try {
      // Deduplication serves the events alone; its window may not be longer than the age of messages.
      const window = Math.min(120e9, limits?.max_age || settings.max_age || 120e9);
      await jsm.streams.add({
        ...withoutNulls(settings),
        ...limits,
        num_replicas: replicas,
        duplicate_window: window,
      });
      created = true;
    } catch (error) {
      if (NO_STORAGE.has(code(error)) && limits !== undefined && limits.max_bytes > LEAST_BYTES) {
        // A smaller log is better than none; its bound is shown.
        limits = { ...limits, max_bytes: Math.floor(limits.max_bytes / 2) };
      } else if (code(error) !== STREAM_NAME_IN_USE) throw error;
    }
  }
}

/** Without what is not there, and without what only newer servers know and nobody asks for. */
function withoutNulls(settings: Settings): Partial<StreamConfig> & { readonly name: string } {
  const given = Object.entries(settings).filter(([, value]) => value !== null && value !== false);
  return Object.fromEntries(given) as Partial<StreamConfig> & { readonly name: string };
}

/** What is otherwise than needed, a sentence each. */
export function compareSettings(needed: Settings, echoed: StreamConfig): string[] {
  return Object.entries(needed).flatMap(([name, value]) => {
    const there = (echoed as unknown as Record<string, unknown>)[name] ?? (value === false ? false : null);
    if (isDeepStrictEqual(there, value)) return [];
    return [`${needed.name}: ${name} is ${JSON.stringify(there)}, needed is ${JSON.stringify(value)}`];
  });
}
