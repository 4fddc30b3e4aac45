export { type ConfigRendererPorts, runConfigRenderer } from "./config-renderer.ts";
export type { ConfigRendererOptions } from "./options.ts";
export { configRenderer } from "./service.ts";
