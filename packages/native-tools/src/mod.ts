export { type EnsureOptions, ensureTool, type Tool } from "./ensure-tool.ts";
export { freePort } from "./free-port.ts";
export { type NatsCluster, type NatsNode, startNatsCluster } from "./nats-cluster.ts";
export { type NatsServer, type NatsServerOptions, startNatsServer } from "./nats-server.ts";
export type { NginxModules } from "./nginx-modules.ts";
export type { ToolName } from "./tool-list.ts";
