import type { Limits, Rate } from "@sluice/contracts";
import type { CompiledPath } from "./compile-ingress.ts";

/** What annotations say of how often a client may come, and how much it gets. 0: no limit. */
export interface LimitPolicy {
  readonly perSecond?: number;
  readonly perMinute?: number;
  readonly burstMultiplier?: number;
  readonly connections?: number;
  readonly except?: readonly string[];
  /** Kilobytes. */
  readonly rate?: number;
  readonly rateAfter?: number;
}

export const BURST_MULTIPLIER = 5;
const KILOBYTE = 1024;

function limitsOf(policy: LimitPolicy, of: string): Limits | null {
  const { perSecond = 0, perMinute = 0, connections = 0, except = [], rate = 0, rateAfter = 0 } = policy;
  const multiplier = policy.burstMultiplier ?? BURST_MULTIPLIER;
  const rates: Rate[] = [
    { requests: perSecond, seconds: 1, burst: perSecond * multiplier },
    { requests: perMinute, seconds: 60, burst: perMinute * multiplier },
  ].filter(({ requests }) => requests > 0);
  const counts = rates.length > 0 || connections > 0;
  if (!counts && rate === 0) return null;
  return {
    of,
    ...(rates.length === 0 ? {} : { rates }),
    ...(connections === 0 ? {} : { connections }),
    ...(counts && except.length > 0 ? { except: [...except] } : {}),
    ...(rate === 0 ? {} : { bytesPerSecond: rate * KILOBYTE }),
    ...(rate === 0 || rateAfter === 0 ? {} : { freeBytes: rateAfter * KILOBYTE }),
  };
}

/** The same paths with their limits. @param of `namespace/name` of their object, which shares its counters */
export function limited(paths: readonly CompiledPath[], policy: LimitPolicy, of: string): CompiledPath[] {
  const limits = limitsOf(policy, of);
  if (limits === null) return [...paths];
  return paths.map((path) => ({ ...path, policy: { ...path.policy, limits } }));
}
