export type { AggregateOptions } from "./aggregate.ts";
export { type AggregatorPorts, runAggregator } from "./aggregator.ts";
export { aggregator } from "./service.ts";
