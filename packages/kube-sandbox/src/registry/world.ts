import type { Clock } from "../clock.ts";
import type { Catalog } from "../kinds/catalog.ts";
import type { AddressRange } from "../kinds/service.ts";
import type { Logger } from "../logger.ts";
import type { ObjectStore } from "../store/object-store.ts";

/** What one cluster is made of; requests and controllers share it. */
export interface World {
  name: string;
  store: ObjectStore;
  catalog: Catalog;
  addresses: AddressRange;
  clock: Clock;
  log: Logger;
}

/** How a write is meant, from the query of its request. */
export interface WriteOptions {
  /** Field manager: the query's, else the user agent up to its first slash. */
  manager: string;
  fieldValidation: "Strict" | "Warn" | "Ignore";
  dryRun: boolean;
  /** Server-side apply takes contested fields. */
  force: boolean;
  /** What the client is told in Warning headers. */
  warnings: string[];
}

export type Subresource = "" | "status" | "scale";

/** Options of a write that the cluster makes itself. */
export function plainOptions(manager: string): WriteOptions {
  return { manager, fieldValidation: "Strict", dryRun: false, force: false, warnings: [] };
}
