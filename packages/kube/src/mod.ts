export {
  type ApplyOptions,
  type ConnectOptions,
  connectCluster,
  type DeleteOptions,
  type KubeClient,
  type ListOptions,
  type ListPage,
  type PageOptions,
  type WatchOptions,
  type WriteOptions,
} from "./client.ts";
export { type EventNote, recordEvent } from "./event-recorder.ts";
export { matchesLabels, matchesSelector } from "./label-selector.ts";
export type { KubeLogger } from "./logger.ts";
export type * from "./objects.ts";
export { Reconciler, type ReconcilerOptions } from "./reconciler.ts";
export {
  type Change,
  type ReflectOptions,
  type Reflector,
  type ReflectorKit,
  type ReflectorState,
  type ReflectorTiming,
  reflect,
} from "./reflector.ts";
export {
  apiVersionOf,
  knownResource,
  type ObjectRef,
  objectKey,
  type ResourceType,
  resourcePath,
  resources,
} from "./resources.ts";
export type { Answer, RequestInit } from "./transport.ts";
export type { WatchEvent } from "./watch-stream.ts";
