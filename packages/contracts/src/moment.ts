import { MomentError } from "./errors.ts";

/** A moment of the log: a time (ms since 1970; everything stored up to and including it) or a sequence. */
export type Moment = { readonly at: number } | { readonly seq: number };

const UNIT_MS: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };
/** RFC 3339 with its offset: a time without one would mean another moment on another machine. */
const RFC_3339 = /^\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}:\d{2}(\.\d+)?([Zz]|[+-]\d{2}:\d{2})$/;

/**
 * `2026-03-01T12:00:00Z` · `2h`, `-15m`, `1h30m` (so long ago) · `now` · `#1234` (a sequence of the log).
 * @throws MomentError
 */
export function parseMoment(text: string, now: number): Moment {
  const given = text.trim();
  if (given === "now") return { at: now };
  if (/^#[0-9]{1,15}$/.test(given)) return { seq: Number(given.slice(1)) };
  if (/^-?([0-9]+(\.[0-9]+)?(ms|s|m|h|d))+$/.test(given)) {
    let ago = 0;
    for (const [, amount, , unit] of given.matchAll(/([0-9]+(\.[0-9]+)?)(ms|s|m|h|d)/g)) {
      ago += Number(amount) * UNIT_MS[unit ?? ""]!;
    }
    return { at: Math.max(0, now - ago) };
  }
  if (RFC_3339.test(given)) {
    const at = Date.parse(given.replace(" ", "T").toUpperCase());
    if (Number.isFinite(at) && at >= 0) return { at };
  }
  throw new MomentError(
    `${JSON.stringify(text)} is no moment; write 2026-03-01T12:00:00Z, 2h (so long ago) or #1234 (a sequence)`,
  );
}
