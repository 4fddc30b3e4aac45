import type { ProxyFlagOptions } from "@sluice/service-kit";
import type { ProxyFlags } from "./proxy-settings.ts";

/** What was said, and nothing else. */
export function proxyFlagsOf(options: ProxyFlagOptions): ProxyFlags {
  const { accessLog, trust, proxyProtocol, forwardedHeaders, realIp, forwardedForHeader } = options;
  const { fullForwardedFor, generateRequestId, beginTraces, shutdownTimeout } = options;
  return {
    ...(accessLog === undefined ? {} : { accessLog }),
    clients: {
      ...(trust.length === 0 ? {} : { from: trust }),
      ...(proxyProtocol === undefined ? {} : { proxyProtocol }),
      ...(forwardedHeaders === undefined ? {} : { forwardedHeaders }),
      ...(realIp === undefined ? {} : { realIp }),
      ...(forwardedForHeader === undefined ? {} : { forwardedForHeader }),
      ...(fullForwardedFor === undefined ? {} : { fullForwardedFor }),
    },
    requestIds: {
      ...(generateRequestId === undefined ? {} : { generate: generateRequestId }),
      ...(beginTraces === undefined ? {} : { traces: beginTraces }),
    },
    ...(shutdownTimeout === undefined ? {} : { shutdownTimeoutMs: shutdownTimeout }),
  };
}

/** The same options with what an agent's own flags say in place of what nginx was prepared with. */
export function withFlags<O extends ProxyFlags>(options: O, flags: ProxyFlags): O {
  return {
    ...options,
    ...flags,
    clients: { ...options.clients, ...flags.clients },
    requestIds: { ...options.requestIds, ...flags.requestIds },
  };
}
