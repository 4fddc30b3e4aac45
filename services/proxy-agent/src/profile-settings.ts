import type { ProfileRow } from "@sluice/contracts";
import { defaultProfile } from "@sluice/ingress";

/** What a profile can say; a location of its own in nginx.conf says it. */
export interface ProfileSettings {
  /** Milliseconds until a connection to a peer must stand; then the next peer is tried. */
  readonly connectTimeoutMs: number;
  /** Milliseconds between two reads from a peer. */
  readonly readTimeoutMs: number;
  readonly sendTimeoutMs: number;
  /** 0: any size. */
  readonly maxBodyBytes: number;
  readonly requestBuffering: boolean;
  readonly responseBuffering: boolean;
}

/** 60 s and 1 MiB are what ingress-nginx had; 250 ms is ours, because another peer is usually there. */
export const defaultSettings: ProfileSettings = {
  connectTimeoutMs: 250,
  readTimeoutMs: 60_000,
  sendTimeoutMs: 60_000,
  maxBodyBytes: 1024 * 1024,
  requestBuffering: true,
  responseBuffering: true,
};

/** The name under which nginx knows a profile: the default one is served where every request arrives. */
export function profileName(hash: string): string {
  return hash === defaultProfile.hash ? "default" : hash;
}

/** The settings of a row, or what is wrong with it. */
export function readProfile(row: ProfileRow): ProfileSettings | { readonly problem: string } {
  const settings: Record<string, string | number | boolean> = { ...defaultSettings };
  for (const [key, value] of Object.entries(row.settings)) {
    const known = settings[key];
    if (known === undefined) return { problem: `setting ${key} is unknown to this version` };
    if (typeof value !== typeof known) return { problem: `setting ${key} is no ${typeof known}` };
    if (typeof value === "number" && (!Number.isInteger(value) || value < 0 || value > 2 ** 40)) {
      return { problem: `setting ${key} is not a whole number from 0 to 2^40` };
    }
    if (key.endsWith("TimeoutMs") && value === 0) return { problem: `setting ${key} must be above 0` };
    settings[key] = value;
  }
  return settings as unknown as ProfileSettings;
}
