export { buildStatus, type StatusOptions } from "./build-status.ts";
export type { GatewayState, Heard } from "./gateway-state.ts";
export { topologyGateway } from "./service.ts";
export { runTopologyGateway, type TopologyGatewayOptions } from "./topology-gateway.ts";
