import type { IncomingMessage, ServerResponse } from "node:http";

/** What a container of the sandbox does with a request. */
export type ImageHandler = (request: IncomingMessage, response: ServerResponse) => void;

export interface ImageName {
  /** The last path segment, without tag and digest. */
  readonly name: string;
  /** Empty when the image has none. */
  readonly tag: string;
}

/** Request bodies that the echo image repeats are cut here. */
const ECHO_LIMIT_BYTES = 1024 * 1024;

export function parseImage(image: string): ImageName {
  const last = image.split("@")[0]?.split("/").at(-1) ?? "";
  const [name = "", tag = ""] = last.split(":");
  return { name, tag };
}

/** Null: the sandbox never pulls, and knows no such image. */
export function imageHandler(image: string, podName: string): ImageHandler | null {
  const { name, tag } = parseImage(image);
  if (name === "hello-app") return hello(versionOf(tag), podName);
  if (name === "echo") return echo(podName);
  return null;
}

export const KNOWN_IMAGES = "images whose last path segment is hello-app or echo";

/** Google's hello-app 1.0 calls itself 1.0.0, 2.0 2.0.0. */
function versionOf(tag: string): string {
  if (tag === "" || tag === "latest") return "1.0.0";
  return /^\d+\.\d+$/.test(tag) ? `${tag}.0` : tag;
}

function hello(version: string, podName: string): ImageHandler {
  const body = Buffer.from(`Hello, world!\nVersion: ${version}\nHostname: ${podName}\n`);
  const headers = { "content-type": "text/plain; charset=utf-8", "content-length": body.length };
  return (request, response) => {
    // Unread bytes would stand in the way of the connection's next request.
    request.resume();
    response.writeHead(200, headers).end(body);
  };
}

function echo(podName: string): ImageHandler {
  return (request, response) => {
    const chunks: Buffer[] = [];
    let kept = 0;
    request.on("data", (chunk: Buffer) => {
      if (kept < ECHO_LIMIT_BYTES) chunks.push(chunk.subarray(0, ECHO_LIMIT_BYTES - kept));
      kept += chunk.length;
    });
    request.on("end", () => {
      const { method, url: path, headers } = request;
      const body = Buffer.concat(chunks).toString("utf8");
      response
        .writeHead(200, { "content-type": "application/json" })
        .end(`${JSON.stringify({ pod: podName, method, path, headers, body })}\n`);
    });
  };
}
