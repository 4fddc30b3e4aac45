export type { Bus, HoldRequest, PlainWriter } from "./bus.ts";
export { busOptions, type ConnectOptions, connectBus } from "./connect.ts";
export type { PartHolder } from "./hold-options.ts";
export type { BusLog, CheckpointInfo, LogEntry } from "./log.ts";
export { LogFeeder } from "./log-feeder.ts";
export {
  type AuthForm,
  authorizationBlock,
  readUsers,
  type WrittenUser,
  writeCredentials,
} from "./nats-auth.ts";
export { changesSince, entriesOf, isUsable, Past, pastAt, reachOf } from "./past.ts";
export { type PastChange, PastTable } from "./past-table.ts";
export { type RecordedRecord, ReplayTarget, recordedTables } from "./replay-target.ts";
export type { TableView, ViewOptions } from "./view.ts";
