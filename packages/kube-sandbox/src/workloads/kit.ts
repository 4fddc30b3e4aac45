import type { Clock } from "@sluice/service-kit";
import type { Logger } from "../logger.ts";

/** What every controller and the node get. */
export interface WorkloadsKit {
  readonly log: Logger;
  readonly clock: Clock;
  readonly signal: AbortSignal;
}
