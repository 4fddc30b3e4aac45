export { Confidential } from "./confidential.ts";
export {
  type FleetKeyFiles,
  type FleetPrivateKey,
  type FleetPublicKey,
  makeFleetKey,
  readPrivateKey,
  readPublicKey,
  writeFleetKey,
} from "./fleet-key.ts";
export { openSealed, seal } from "./seal.ts";
