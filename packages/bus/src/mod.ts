export type { Bus, PlainWriter } from "./bus.ts";
export { type ConnectOptions, connectBus } from "./connect.ts";
export type { HoldOptions, PartHolder } from "./hold-options.ts";
export type { TableView, ViewOptions } from "./view.ts";
