import { open, readFile, rename } from "node:fs/promises";
import { dirname } from "node:path";
import type { FleetValue } from "@sluice/contracts";
import type { NginxRow } from "./nginx-row.ts";

/** A fleet record with the row that nginx had for it; null: it had none yet. */
export interface LastGoodEntry {
  readonly key: string;
  readonly value: FleetValue;
  readonly row: NginxRow | null;
}

export interface LastGoodCopy {
  readonly entries: Iterable<LastGoodEntry>;
  /** Revision of `fleet` at which the records were all there were; 0: they never were. */
  readonly wholeAt: number;
}

/** What a proxy served last, on its own disk. nginx reads the rows when it starts, the agent the records. */
export interface LastGoodStore {
  load(): Promise<LastGoodCopy>;
  save(copy: LastGoodCopy): Promise<void>;
}

/** The first line, before the entries. */
interface Head {
  readonly wholeAt: number;
}

/** Bytes that are put together before a write, so that thousands of rows neither block nor cost a call each. */
const BLOCK = 256 * 1024;

/** One JSON object a line; replaced as a whole, and on the disk before it counts. */
export class LastGoodFile implements LastGoodStore {
  readonly #path: string;

  constructor(path: string) {
    this.#path = path;
  }

  async load(): Promise<LastGoodCopy> {
    const text = await readFile(this.#path, "utf8").catch((error: NodeJS.ErrnoException) => {
      if (error.code === "ENOENT") return "";
      throw error;
    });
    // Our own file, replaced atomically: every line but the empty last one is whole.
    const lines = text.split("\n").filter((line) => line !== "");
    const first = JSON.parse(lines[0] ?? "{}") as Partial<Head>;
    // An earlier version wrote entries alone.
    const entries = first.wholeAt === undefined ? lines : lines.slice(1);
    return {
      entries: entries.map((line) => JSON.parse(line) as LastGoodEntry),
      wholeAt: first.wholeAt ?? 0,
    };
  }

  async save({ entries, wholeAt }: LastGoodCopy): Promise<void> {
    const next = `${this.#path}.next`;
    const file = await open(next, "w", 0o600);
    try {
      let block = `${JSON.stringify({ wholeAt } satisfies Head)}\n`;
      for (const entry of entries) {
        block += `${JSON.stringify(entry)}\n`;
        if (block.length < BLOCK) continue;
        await file.write(block);
        block = "";
      }
      await file.write(block);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(next, this.#path);
    // The rename itself is on the disk once the folder is.
    const folder = await open(dirname(this.#path), "r");
    try {
      await folder.sync();
    } finally {
      await folder.close();
    }
  }
}
