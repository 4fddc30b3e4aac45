import type { ServerResponse } from "node:http";
import type { Json } from "../json.ts";

/** Sends JSON. `text` spares a second JSON.stringify where the text is at hand. */
export function sendText(
  response: ServerResponse,
  code: number,
  text: string,
  warnings: string[] = [],
): void {
  if (response.headersSent || response.destroyed) return;
  if (warnings.length > 0) {
    response.setHeader(
      "warning",
      warnings.map((warning) => `299 - ${JSON.stringify(warning)}`),
    );
  }
  response.writeHead(code, {
    "content-type": "application/json",
    "content-length": Buffer.byteLength(text),
    "cache-control": "no-cache, private",
  });
  response.end(text);
}

export function sendJson(response: ServerResponse, code: number, value: Json, warnings: string[] = []): void {
  sendText(response, code, JSON.stringify(value), warnings);
}
