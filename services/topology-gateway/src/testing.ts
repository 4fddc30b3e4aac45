// For tests only: what takes orders, without the HTTP in front of it.
export { IntentWriter } from "./intent-writer.ts";
