import type { ProfileRow } from "@sluice/contracts";
import {
  defaultProfile,
  defaultSettings,
  isCipherList,
  isTlsName,
  nextUpstreamWords,
  type ProfileSettings,
  settingBounds,
  tlsProtocolWords,
} from "@sluice/ingress";

/** The name under which nginx knows a profile: the default one is served where every request arrives. */
export function profileName(hash: string): string {
  return hash === defaultProfile.hash ? "default" : hash;
}

const isSecretId = (value: string) => /^[0-9a-z-]{0,128}$/.test(value);

const bounds: Readonly<Record<string, readonly [number, number]>> = settingBounds;
const texts: Readonly<Record<string, (value: string) => boolean>> = {
  errorCodes: (value) => /^([45][0-9]{2}( [45][0-9]{2}){0,63})?$/.test(value),
  httpVersion: (value) => value === "1.0" || value === "1.1",
  clientFacts: (value) => value === "none" || value === "names" || value === "whole",
  protocol: (value) => ["http", "https", "grpc", "grpcs"].includes(value),
  tlsName: (value) => value === "" || isTlsName(value),
  tlsAuthorities: isSecretId,
  tlsClient: isSecretId,
  tlsProtocols: (value) => value.split(" ").every((word) => tlsProtocolWords.includes(word)),
  tlsCiphers: isCipherList,
  nextUpstream: (value) => value.split(" ").every((word) => nextUpstreamWords.includes(word)),
};

/** The settings of a row, or what is wrong with it: a row is judged here whoever wrote it. */
export function readProfile(row: ProfileRow): ProfileSettings | { readonly problem: string } {
  const settings: Record<string, string | number | boolean> = { ...defaultSettings };
  for (const [key, value] of Object.entries(row.settings)) {
    const known = Object.hasOwn(settings, key) ? settings[key] : undefined;
    if (known === undefined) return { problem: `setting ${key} is unknown to this version` };
    if (typeof value !== typeof known) return { problem: `setting ${key} is no ${typeof known}` };
    const [min, max] = bounds[key] ?? [0, 0];
    if (typeof value === "number" && (!Number.isInteger(value) || value < min || value > max)) {
      return { problem: `setting ${key} is not a whole number from ${min} to ${max}` };
    }
    if (typeof value === "string" && texts[key]?.(value) !== true) {
      return { problem: `setting ${key} is none of what nginx takes` };
    }
    settings[key] = value;
  }
  return settings as unknown as ProfileSettings;
}
