import { createKit, type Kit } from "@sluice/service-kit";
import { type Bus, createBus } from "./bus.ts";
import { MemoryServer } from "./memory-store.ts";

export { createBus } from "./bus.ts";
export { MemoryServer } from "./memory-store.ts";
export { type ResumePoint, resumeFrom } from "./resume-point.ts";
export type { Store } from "./store.ts";
export { subjectFilter } from "./subject-filter.ts";

/** A bus in memory for tests of services; every call with the same server sees the same tables. */
export function memoryBus(options: {
  role: string;
  signal: AbortSignal;
  server?: MemoryServer;
  kit?: Kit;
}): Bus {
  const kit = options.kit ?? createKit({ service: options.role, signal: options.signal });
  return createBus((options.server ?? new MemoryServer()).connect(), options.role, kit);
}
