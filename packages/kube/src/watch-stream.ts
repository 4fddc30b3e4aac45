import { KubeStatusError } from "@sluice/contracts";
import type { KubeObject } from "./objects.ts";
import { OBJECT_LIMIT_BYTES } from "./transport.ts";

export type WatchEvent<T extends KubeObject> =
  | { readonly type: "ADDED" | "MODIFIED" | "DELETED"; readonly object: T }
  /** Nothing changed up to this resourceVersion. */
  | { readonly type: "BOOKMARK"; readonly resourceVersion: string };

const newline = 0x0a;

/**
 * Splits bytes into lines of JSON. Bytes, not text: a chunk may end inside a character.
 * @throws RangeError for a line that is longer than `limitBytes`
 */
export class LineSplitter {
  readonly #limitBytes: number;
  #rest: Buffer[] = [];
  #restBytes = 0;

  constructor(limitBytes: number = OBJECT_LIMIT_BYTES) {
    this.#limitBytes = limitBytes;
  }

  /** The lines that this chunk completes, without their line ends; empty lines are left out. */
  push(chunk: Buffer): string[] {
    const lines: string[] = [];
    let start = 0;
    for (let end = chunk.indexOf(newline); end !== -1; end = chunk.indexOf(newline, start)) {
      let line: string;
      if (this.#restBytes === 0) line = chunk.toString("utf8", start, end);
      else {
        this.#rest.push(chunk.subarray(start, end));
        line = Buffer.concat(this.#rest).toString("utf8");
        this.#rest = [];
        this.#restBytes = 0;
      }
      if (line.trim() !== "") lines.push(line);
      start = end + 1;
    }
    if (start < chunk.length) {
      this.#rest.push(chunk.subarray(start));
      this.#restBytes += chunk.length - start;
      if (this.#restBytes > this.#limitBytes) {
        throw new RangeError(`a watch event is longer than ${this.#limitBytes} bytes`);
      }
    }
    return lines;
  }
}

/**
 * One line of a watch.
 * @throws KubeStatusError for an ERROR event; SyntaxError for what is no event
 */
export function parseWatchEvent<T extends KubeObject>(line: string, where: string): WatchEvent<T> {
  const event = JSON.parse(line) as { type?: unknown; object?: unknown };
  const object = event.object as (T & { code?: unknown; reason?: unknown; message?: unknown }) | undefined;
  if (typeof object !== "object" || object === null)
    throw new SyntaxError(`${where}: a watch event without object`);
  switch (event.type) {
    case "ADDED":
    case "MODIFIED":
    case "DELETED":
      if (typeof object.metadata?.name !== "string") {
        throw new SyntaxError(`${where}: a watch event whose object has no name`);
      }
      return { type: event.type, object };
    case "BOOKMARK":
      return { type: "BOOKMARK", resourceVersion: object.metadata?.resourceVersion ?? "" };
    case "ERROR": {
      const status = typeof object.code === "number" ? object.code : 500;
      const reason = typeof object.reason === "string" ? object.reason : "";
      throw new KubeStatusError(`${where}: ${status} ${reason}: ${String(object.message ?? "")}`, {
        status,
        reason,
      });
    }
    default:
      throw new SyntaxError(`${where}: unknown watch event ${JSON.stringify(event.type)}`);
  }
}
