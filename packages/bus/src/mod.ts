export type { Bus, HoldRequest, PlainWriter } from "./bus.ts";
export { type ConnectOptions, connectBus } from "./connect.ts";
export type { PartHolder } from "./hold-options.ts";
export type { BusLog, LogEntry } from "./log.ts";
export { changesSince, entriesOf, isUsable, Past, pastAt, reachOf } from "./past.ts";
export type { PastChange } from "./past-table.ts";
export type { TableView, ViewOptions } from "./view.ts";
