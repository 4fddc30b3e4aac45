export { isCipherList, isTlsName, tlsProtocolWords } from "./backend-values.ts";
export { buildFleet, type World } from "./build-fleet.ts";
export { clusterGroups } from "./cluster-order.ts";
export { type FleetChanges, FleetModel, type FleetOptions, verdictKey } from "./fleet-model.ts";
export { type ListenerSettings, readListenerSettings } from "./listener-settings.ts";
export type { IngressClass, KubeObject, MultiClusterIngress, ObjectRef, ServiceImport } from "./objects.ts";
export { buildPeers, type ClusterPlace } from "./peers.ts";
export {
  defaultProfile,
  defaultSettings,
  nextUpstreamWords,
  type ProfileSettings,
  profileOf,
  settingBounds,
} from "./profile.ts";
export { ReadSecret, type Secret, type SecretContents } from "./secret.ts";
export type { SecretWant } from "./secret-want.ts";
export { upstreamId } from "./upstream-id.ts";
export type { Reason, Verdict } from "./verdict.ts";
