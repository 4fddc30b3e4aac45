export * from "./addresses.ts";
export { decode, decodeEnvelope, type Envelope, encodeEnvelope, parseJson } from "./envelope.ts";
export * from "./errors.ts";
export * from "./keys.ts";
export * from "./records.ts";
export { type ErrorKind, errorKinds, SluiceError } from "./sluice-error.ts";
export * from "./tables.ts";
export { markStage, newTrace } from "./trace.ts";
