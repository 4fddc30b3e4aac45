import { ConfigError, decode, GatewayUnreachableError, Status } from "@sluice/contracts";
import { renderStatus } from "./render-status.ts";
import { findRunFile } from "./run-file.ts";

const DEFAULT_GATEWAY = "http://127.0.0.1:31580";
const ANSWER_MS = 5000;
/** 2: something that a person should look at. */
const FINDINGS = 2;

/** `--gateway`, then SLUICE_GATEWAY, then the nearest `.sluice/run.json`, then the default. */
function gatewayAddress(flag: string | undefined): string {
  const said = flag ?? (process.env["SLUICE_GATEWAY"] || undefined);
  const address = said ?? findRunFile(process.cwd())?.gateway ?? DEFAULT_GATEWAY;
  const url = address.includes("://") ? address : `http://${address}`;
  if (!URL.canParse(url)) {
    const from = flag === undefined ? "SLUICE_GATEWAY" : "--gateway";
    throw new ConfigError(`${from}=${address} is no address; write http://HOST:PORT`);
  }
  return url.replace(/\/$/, "");
}

/** @throws GatewayUnreachableError, BadRecordError */
export async function fetchStatus(gateway: string): Promise<Status> {
  let body: unknown;
  try {
    const answer = await fetch(`${gateway}/api/v1/status`, { signal: AbortSignal.timeout(ANSWER_MS) });
    if (!answer.ok) throw new Error(`it answers ${answer.status}`);
    body = await answer.json();
  } catch (cause) {
    const why = cause instanceof Error && cause.cause instanceof Error ? cause.cause.message : String(cause);
    throw new GatewayUnreachableError(
      `the topology-gateway at ${gateway} does not answer (${why}); start Sluice, or name it with --gateway`,
      { cause },
    );
  }
  return decode(Status, body, `${gateway}/api/v1/status`);
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
