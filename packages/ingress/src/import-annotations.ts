import { quote } from "./objects.ts";

/** What Sluice's annotation of a ServiceImport says; null: nothing, or what is no `shape`, which is told. */
export function readSaid<T>(
  annotations: ReadonlyMap<string, string>,
  name: string,
  of: (text: string) => T | null,
  shape: string,
  warn: (message: string) => void,
): T | null {
  const text = annotations.get(name);
  if (text === undefined || text.trim() === "") return null;
  const value = of(text.trim());
  if (value === null) {
    warn(`metadata.annotations[${name}]: ${quote(text)} is not ${shape}; it is as if it were not there`);
  }
  return value;
}

const UNITS: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000 };

/** A time as Go and Kubernetes write it, of one unit: `250ms`, `2s`, `5m`. @returns milliseconds, or null */
export function duration(text: string, [min, max]: readonly [min: number, max: number]): number | null {
  const [, digits = "", unit = ""] = /^([0-9]{1,7})(ms|s|m)$/.exec(text) ?? [];
  const ms = Number(digits) * (UNITS[unit] ?? Number.NaN);
  return ms >= min && ms <= max ? ms : null;
}

/** A whole number within bounds, or null. */
export function whole(text: string, [min, max]: readonly [min: number, max: number]): number | null {
  const value = /^[0-9]{1,9}$/.test(text) ? Number(text) : Number.NaN;
  return value >= min && value <= max ? value : null;
}
