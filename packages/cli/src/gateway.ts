import {
  ApiProblem,
  ConfigError,
  decode,
  errorKinds,
  GatewayUnreachableError,
  SluiceError,
} from "@sluice/contracts";
import { findRunFile } from "./run-file.ts";

const DEFAULT_GATEWAY = "http://127.0.0.1:31580";
const ANSWER_MS = 5000;

/** `--gateway`, then SLUICE_GATEWAY, then the nearest `.sluice/run.json`, then the default. */
export function gatewayAddress(flag: string | undefined): string {
  const said = flag ?? (process.env["SLUICE_GATEWAY"] || undefined);
  const address = said ?? findRunFile(process.cwd())?.gateway ?? DEFAULT_GATEWAY;
  const url = address.includes("://") ? address : `http://${address}`;
  if (!URL.canParse(url)) {
    const from = flag === undefined ? "SLUICE_GATEWAY" : "--gateway";
    throw new ConfigError(`${from}=${address} is no address; write http://HOST:PORT`);
  }
  return url.replace(/\/$/, "");
}

/** What a query is made of; undefined: not asked for. */
export type Query = Readonly<Record<string, string | undefined>>;

export interface GatewayRequest {
  readonly path: string;
  readonly query?: Query;
  /** Default GET. */
  readonly method?: "GET" | "POST" | "DELETE";
  readonly body?: object;
  /** How long it may take, ms; default 5,000. */
  readonly answerMs?: number;
}

/** @throws GatewayUnreachableError, or what the gateway itself refused with */
async function request(gateway: string, of: GatewayRequest, signal: AbortSignal): Promise<Response> {
  const given = Object.entries(of.query ?? {}).filter(
    (pair): pair is [string, string] => pair[1] !== undefined,
  );
  const query = given.length === 0 ? "" : `?${new URLSearchParams(given)}`;
  let answer: Response;
  try {
    answer = await fetch(`${gateway}${of.path}${query}`, {
      signal,
      method: of.method ?? "GET",
      ...(of.body === undefined
        ? {}
        : { body: JSON.stringify(of.body), headers: { "content-type": "application/json" } }),
    });
  } catch (cause) {
    throw unreachable(gateway, cause);
  }
  if (answer.ok) return answer;
  throw refusal(gateway, answer.status, await answer.json().catch(() => null));
}

function unreachable(gateway: string, cause: unknown): GatewayUnreachableError {
  const why = cause instanceof Error && cause.cause instanceof Error ? cause.cause.message : String(cause);
  return new GatewayUnreachableError(
    `the topology-gateway at ${gateway} does not answer (${why}); start Sluice, or name it with --gateway`,
    { cause },
  );
}

/** The gateway's refusal as the error that it was there, so that its code and exit are the same here. */
function refusal(gateway: string, status: number, body: unknown): SluiceError {
  try {
    return errorOf(decode(ApiProblem, body, gateway));
  } catch (cause) {
    return new GatewayUnreachableError(`the topology-gateway at ${gateway} answers ${status}`, { cause });
  }
}

/** What a gateway's code and message stand for. */
export function errorOf(problem: {
  readonly code?: string | undefined;
  readonly message: string;
}): SluiceError {
  const kind = errorKinds.find(({ code }) => code === problem.code);
  if (kind === undefined) return new GatewayUnreachableError(problem.message);
  return new SluiceError(kind.code, kind.exit, problem.message);
}

/** One answer, checked by `read`. @throws GatewayUnreachableError, BadRecordError, or what the gateway refused with */
export async function askGateway<T>(
  gateway: string,
  read: (answer: unknown, subject: string) => T,
  of: GatewayRequest,
): Promise<T> {
  const answer = await request(gateway, of, AbortSignal.timeout(of.answerMs ?? ANSWER_MS));
  let body: unknown;
  try {
    body = await answer.json();
  } catch (cause) {
    throw unreachable(gateway, cause);
  }
  return read(body, `${gateway}${of.path}`);
}

/** A long answer, line by line, each checked by `read`; ends with it, or when the signal aborts. */
export async function* askGatewayLines<T>(
  gateway: string,
  read: (answer: unknown, subject: string) => T,
  of: GatewayRequest,
  signal: AbortSignal,
): AsyncGenerator<T> {
  try {
    const { body } = await request(gateway, of, signal);
    if (body === null) return;
    let rest = "";
    for await (const text of body.pipeThrough(new TextDecoderStream())) {
      const lines = (rest + text).split("\n");
      rest = lines.pop() ?? "";
      for (const line of lines) if (line !== "") yield read(JSON.parse(line), `${gateway}${of.path}`);
    }
  } catch (cause) {
    if (signal.aborted) return;
    if (cause instanceof SluiceError) throw cause;
    throw unreachable(gateway, cause);
  }
}
