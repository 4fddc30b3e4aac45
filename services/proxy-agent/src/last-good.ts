import { open, rename } from "node:fs/promises";
import { dirname } from "node:path";
import type { FleetValue } from "@sluice/contracts";
import type { NginxNameRow, NginxRow } from "./nginx-row.ts";
import { readIfThere, syncFolder } from "./private-file.ts";

/** A fleet record with the row that nginx had for it; null: it had none yet. */
export interface LastGoodEntry {
  readonly key: string;
  readonly value: FleetValue;
  readonly row: NginxRow | null;
}

type NameRow = Extract<NginxNameRow, { readonly addresses: unknown }>;

export interface LastGoodCopy {
  readonly entries: Iterable<LastGoodEntry>;
  /** Where services are that are asked of requests. */
  readonly names?: Iterable<NameRow>;
  /** Revision of `fleet` at which the records were all there were; 0: they never were. */
  readonly wholeAt: number;
}

/** What a proxy served last, on its own disk. nginx reads the rows when it starts, the agent the records. */
export interface LastGoodStore {
  load(): Promise<LastGoodCopy>;
  save(copy: LastGoodCopy): Promise<void>;
}

interface NameEntry {
  readonly row: NameRow;
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
  readonly #secretsPath: string;
  /** As they lie on the disk; null: not known. */
  #secrets: readonly LastGoodEntry[] | null = null;

  /**
   * @param secretsPath where secrets lie, in clear, since nginx has to start from them; kept apart, for the other file
   *   may be shown to whoever looks for a fault
   */
  constructor(path: string, secretsPath: string) {
    this.#path = path;
    this.#secretsPath = secretsPath;
  }

  async load(): Promise<LastGoodCopy> {
    const [secrets, lines] = await Promise.all([linesOf(this.#secretsPath), linesOf(this.#path)]);
    const first = JSON.parse(lines[0] ?? "{}") as Partial<Head>;
    // An earlier version wrote entries alone.
    const entries = first.wholeAt === undefined ? lines : lines.slice(1);
    const read = [...secrets, ...entries].map((line) => JSON.parse(line) as LastGoodEntry | NameEntry);
    return {
      entries: read.filter((entry) => "value" in entry),
      names: read.flatMap((entry) => ("value" in entry ? [] : [entry.row])),
      wholeAt: first.wholeAt ?? 0,
    };
  }

  async save({ entries, names = [], wholeAt }: LastGoodCopy): Promise<void> {
    const secrets: LastGoodEntry[] = [];
    const others: (LastGoodEntry | NameEntry)[] = [...names].map((row) => ({ row }));
    for (const entry of entries) (isSecret(entry.key) ? secrets : others).push(entry);
    // Before what names them. Peers come and go all the time, secrets do not.
    if (this.#secrets === null || !sameEntries(this.#secrets, secrets)) {
      this.#secrets = null;
      await replaceLines(this.#secretsPath, "", secrets);
      this.#secrets = secrets;
    }
    await replaceLines(this.#path, `${JSON.stringify({ wholeAt } satisfies Head)}\n`, others);
  }
}

function isSecret(key: string): boolean {
  return key.split(".")[1] === "secrets";
}

/** Records and rows are never changed: the same ones are the same objects. */
function sameEntries(a: readonly LastGoodEntry[], b: readonly LastGoodEntry[]): boolean {
  return (
    a.length === b.length &&
    a.every((entry, i) => {
      const other = b[i];
      return entry.key === other?.key && entry.value === other.value && entry.row === other.row;
    })
  );
}

async function linesOf(path: string): Promise<string[]> {
  const text = (await readIfThere(path)) ?? "";
  // Our own file, replaced atomically: every line but the empty last one is whole.
  return text.split("\n").filter((line) => line !== "");
}

async function replaceLines(path: string, head: string, entries: readonly unknown[]): Promise<void> {
  const next = `${path}.next`;
  const file = await open(next, "w", 0o600);
  try {
    let block = head;
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
  await rename(next, path);
  await syncFolder(dirname(path));
}
