import { ranges } from "../access-values.ts";
import { wholeNumber } from "../annotation-values.ts";
import { BURST_MULTIPLIER, type LimitPolicy } from "../limits.ts";
import { type Annotation, saying } from "./annotation.ts";

const limit = saying<LimitPolicy>();

const count = wholeNumber([0, 1_000_000]);
const KILOBYTES = [0, 2 ** 30] as const;

/** How often a client may come, and how much it gets: data of a route. */
export const limitAnnotations: readonly Annotation<LimitPolicy>[] = [
  limit("limit-rps", "perSecond", count, "0", "requests per second of one client address; 0: any"),
  limit("limit-rpm", "perMinute", count, "0", "requests per minute; beside limit-rps both hold"),
  limit(
    "limit-burst-multiplier",
    "burstMultiplier",
    wholeNumber([1, 1000]),
    String(BURST_MULTIPLIER),
    "times the limit may come at once, above it",
  ),
  limit("limit-connections", "connections", count, "0", "requests of one client address at one time; 0: any"),
  limit(
    "limit-whitelist",
    "except",
    ranges,
    "",
    "addresses that limit-rps, limit-rpm and limit-connections do not hold for",
  ),
  limit("limit-rate", "rate", wholeNumber(KILOBYTES), "0", "kilobytes per second of one answer; 0: any"),
  limit(
    "limit-rate-after",
    "rateAfter",
    wholeNumber(KILOBYTES),
    "0",
    "kilobytes of an answer that limit-rate does not hold for",
  ),
];
