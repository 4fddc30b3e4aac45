import { request } from "node:http";
import { connect as connectHttp2, constants } from "node:http2";
import { request as requestHttps } from "node:https";
import { connect } from "node:net";
import type { ConnectionOptions } from "node:tls";
import type { HealthCheck } from "@sluice/contracts";
import { serviceQuestion, servingAnswer } from "./grpc-health.ts";

/** Who is asked, e.g. 10.0.0.1 and 8080. */
export interface ProbeTarget {
  readonly address: string;
  readonly port: number;
  /** Of a check that speaks TLS: what is shown to the peer, and what it has to prove. */
  readonly tls?: ConnectionOptions;
}

/** Resolves when the peer serves, rejects with what is wrong, at the latest when the signal aborts. */
export type Probe = (check: HealthCheck, target: ProbeTarget, signal: AbortSignal) => Promise<void>;

const OK = [200, 399] as const;

function tcp({ address, port }: ProbeTarget, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host: address, port });
    const cut = () => socket.destroy(new Error("no connection in time"));
    signal.addEventListener("abort", cut, { once: true });
    socket.once("connect", () => {
      resolve();
      socket.destroy();
    });
    socket.once("error", reject);
    socket.once("close", () => signal.removeEventListener("abort", cut));
  });
}

function authority({ address, port }: ProbeTarget): string {
  return `${address.includes(":") ? `[${address}]` : address}:${port}`;
}

/** A connection of its own each time: one that is kept says nothing of whether new ones are taken. */
function http(check: HealthCheck, target: ProbeTarget, signal: AbortSignal): Promise<void> {
  const { path = "/", host, statusFrom = OK[0], statusTo = OK[1] } = check;
  return new Promise((resolve, reject) => {
    const asked = {
      host: target.address,
      port: target.port,
      path,
      agent: false,
      headers: { host: host ?? authority(target), "user-agent": "sluice-health-check", connection: "close" },
    } as const;
    const sent = target.tls === undefined ? request(asked) : requestHttps({ ...asked, ...target.tls });
    const cut = () => sent.destroy(new Error("no answer in time"));
    signal.addEventListener("abort", cut, { once: true });
    sent.once("response", ({ statusCode = 0 }) => {
      if (statusCode >= statusFrom && statusCode <= statusTo) resolve();
      else reject(new Error(`it answered ${statusCode}`));
      // Whatever it has to say: its status was asked for.
      sent.destroy();
    });
    sent.on("error", reject);
    sent.once("close", () => signal.removeEventListener("abort", cut));
    sent.end();
  });
}

/** Longer than an answer of grpc.health.v1 can be, bytes. */
const MOST_BYTES = 64;

function grpc({ service = "" }: HealthCheck, target: ProbeTarget, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const { tls } = target;
    const session =
      tls === undefined
        ? connectHttp2(`http://${authority(target)}`)
        : connectHttp2(`https://${authority(target)}`, tls);
    const end = (error?: Error) => {
      signal.removeEventListener("abort", cut);
      if (error === undefined) resolve();
      else reject(error);
      session.destroy();
    };
    const cut = () => end(new Error("no answer in time"));
    signal.addEventListener("abort", cut, { once: true });
    session.on("error", end);
    const stream = session.request({
      [constants.HTTP2_HEADER_METHOD]: "POST",
      [constants.HTTP2_HEADER_PATH]: "/grpc.health.v1.Health/Check",
      [constants.HTTP2_HEADER_CONTENT_TYPE]: "application/grpc",
      te: "trailers",
    });
    const chunks: Buffer[] = [];
    let bytes = 0;
    let status: string | undefined;
    const heard = (headers: object) => {
      status = (headers as Record<string, string | undefined>)["grpc-status"] ?? status;
    };
    stream.on("response", heard);
    stream.on("trailers", heard);
    stream.on("data", (chunk: Buffer) => {
      bytes += chunk.length;
      if (bytes > MOST_BYTES) end(new Error("its answer is none of grpc.health.v1"));
      else chunks.push(chunk);
    });
    stream.on("error", end);
    stream.on("close", () => {
      if (status !== "0") end(new Error(`grpc-status ${status ?? "missing"}`));
      else if (servingAnswer(Buffer.concat(chunks))) end();
      else end(new Error("it does not serve"));
    });
    stream.end(serviceQuestion(service));
  });
}

/** Over the network, as the check says; a kind that this version does not know is passed by all. */
export const networkProbe: Probe = (check, target, signal) => {
  const { tls, ...clear } = target;
  if (check.kind === "http") return http(check, clear, signal);
  if (check.kind === "grpc") return grpc(check, clear, signal);
  if (tls !== undefined && check.kind === "https") return http(check, target, signal);
  if (tls !== undefined && check.kind === "grpcs") return grpc(check, target, signal);
  return check.kind === "tcp" ? tcp(target, signal) : Promise.resolve();
};
