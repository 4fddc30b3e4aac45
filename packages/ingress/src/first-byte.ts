import type { CompiledPath } from "./compile-ingress.ts";
import { duration, readSaid } from "./import-annotations.ts";
import { defaultSettings, type ProfileSettings } from "./profile.ts";

export const FIRST_BYTE = "sluice.dev/first-byte-timeout";
export const firstByteShape = "0 or a time such as 500ms or 2s, up to 1m";

const BOUNDS = [1, 60_000] as const;

/** Milliseconds, 0: for ever; null: nothing is said. */
export function readFirstByte(
  annotations: ReadonlyMap<string, string>,
  warn: (message: string) => void,
): number | null {
  const of = (text: string) => (text === "0" ? 0 : duration(text, BOUNDS));
  return readSaid(annotations, FIRST_BYTE, of, firstByteShape, warn);
}

export function withFirstByte(paths: readonly CompiledPath[], firstByteMs: number | null): CompiledPath[] {
  if (firstByteMs === null) return [...paths];
  return paths.map((path) => ({ ...path, policy: { ...path.policy, firstByteMs } }));
}

/** All tries together get twice the limit, unless somebody has said how much they get. */
export function settingsFor(
  settings: Partial<ProfileSettings>,
  firstByteMs: number | null,
): Partial<ProfileSettings> {
  const least = 2 * (firstByteMs ?? 0);
  if (settings.nextTimeoutMs !== undefined || least <= defaultSettings.nextTimeoutMs) return settings;
  return { ...settings, nextTimeoutMs: least };
}
