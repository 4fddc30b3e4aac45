// Flags by which a proxy is told what its own listeners are to do; what they do not say is as the fleet has it.
import { parseCidr } from "@sluice/contracts";
import { type ConfigOf, type ConfigSpec, duration, oneOf } from "./config.ts";

const UNSAID = "; unsaid: as the fleet's ConfigMap has it";

function onOff(value: string): boolean | undefined {
  return value === "" ? undefined : oneOf("on", "off")(value) === "on";
}

const ifSaid =
  <T>(read: (value: string) => T) =>
  (value: string): T | undefined =>
    value === "" ? undefined : read(value);

function trustedRange(value: string): string {
  if (parseCidr(value) === null) throw new Error("write a CIDR such as 10.0.0.0/8");
  return value;
}

function headerName(value: string): string {
  if (!/^[A-Za-z][A-Za-z0-9-]{0,127}$/.test(value)) throw new Error("write the name of a header");
  return value;
}

/** For whoever prepares a proxy's nginx and for its agent. @param process what the variables begin with */
export function proxyFlagSettings(process: "SLUICE_PROXY_AGENT" | "SLUICE_UP") {
  const flag = <T>(name: string, help: string, read: (value: string) => T) => ({
    env: `${process}_${name.toUpperCase().replaceAll("-", "_")}`,
    flag: name,
    help: `${help}${UNSAID}`,
    default: "",
    read,
  });
  return {
    accessLog: flag(
      "access-log",
      "where requests are logged: file (of nginx's folder), stdout or off",
      ifSaid(oneOf("off", "file", "stdout")),
    ),
    trust: {
      env: `${process}_TRUST`,
      flag: "trust",
      help: `a CIDR of load balancers in front, whose word on clients is taken; may be repeated${UNSAID}`,
      many: true,
      read: trustedRange,
    },
    proxyProtocol: flag(
      "proxy-protocol",
      "on: clients begin with a PROXY protocol header, and who does not is not served",
      onOff,
    ),
    forwardedHeaders: flag(
      "forwarded-headers",
      "on: X-Forwarded-For, -Proto, -Host and -Port of whom --trust names hold",
      onOff,
    ),
    realIp: flag("real-ip", "on: of what they say, the address of X-Forwarded-For holds alone", onOff),
    forwardedForHeader: flag(
      "forwarded-for-header",
      "a header in place of X-Forwarded-For, such as CF-Connecting-IP",
      ifSaid(headerName),
    ),
    fullForwardedFor: flag(
      "full-forwarded-for",
      "on: peers get X-Forwarded-For as it came, with the connection's address behind it",
      onOff,
    ),
    generateRequestId: flag("generate-request-id", "on: a request without X-Request-Id gets one", onOff),
    beginTraces: {
      ...flag("begin-traces", "on: a request without a valid traceparent begins a trace", onOff),
      help: "on: a request without a valid traceparent begins a trace; off by default",
    },
    shutdownTimeout: flag(
      "shutdown-timeout",
      "how long streams may outlive a reload of nginx, with the worker that they began with, 240s where nobody says it",
      ifSaid(duration),
    ),
  } satisfies ConfigSpec;
}

export type ProxyFlagOptions = ConfigOf<ReturnType<typeof proxyFlagSettings>>;
