export {
  type NginxOptions,
  type NginxTool,
  type PreparedNginx,
  prepareNginx,
} from "./prepare-nginx.ts";
export { type ProxyAgentOptions, type ProxyAgentPorts, runProxyAgent } from "./proxy-agent.ts";
export { proxyFlagsOf } from "./proxy-flags.ts";
export { proxyAgent } from "./service.ts";
