import { ConfigError, readStatus, type Status } from "@sluice/contracts";
import { askGateway, gatewayAddress } from "./gateway.ts";
import { renderStatus } from "./render-status.ts";

/** 2: something that a person should look at. */
const FINDINGS = 2;

/** @throws GatewayUnreachableError, BadRecordError */
export async function fetchStatus(gateway: string): Promise<Status> {
  return askGateway(gateway, readStatus, { path: "/api/v1/status" });
}

/** `sluice status`: 0 all is well, 2 something is to be looked at. */
export async function statusCommand(options: { gateway?: string; output: string }): Promise<number> {
  if (options.output !== "table" && options.output !== "json") {
    throw new ConfigError(`-o ${options.output}: write table or json`);
  }
  const status = await fetchStatus(gatewayAddress(options.gateway));
  const text =
    options.output === "json"
      ? `${JSON.stringify(status, null, 2)}\n`
      : renderStatus(status, { color: process.stdout.isTTY === true });
  process.stdout.write(text);
  return status.findings.length === 0 ? 0 : FINDINGS;
}
