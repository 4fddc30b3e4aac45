import { isUtf8 } from "node:buffer";
import { Readable } from "node:stream";
import { createGunzip, createGzip } from "node:zlib";
import { type ObjectStore, Objm } from "@nats-io/obj";
import { BadRecordError, CheckpointHead, CheckpointLine, checkpointBucket, decode } from "@sluice/contracts";
import type { CheckpointInfo, CheckpointStore } from "./log.ts";
import type { LogLives } from "./nats-log.ts";
import type { StoredEntry } from "./store.ts";

const HEAD = "checkpoint-";
const GZIP_LEVEL = 3;

/**
 * Checkpoints in a JetStream object store: one object a table (lines of JSON, gzip), and one that names them. That one
 * is written last and removed first, so that a half is never taken for a whole.
 */
export class NatsCheckpoints implements CheckpointStore {
  readonly #lives: LogLives;
  #serial = 0;

  constructor(lives: LogLives) {
    this.#lives = lives;
  }

  #store(): Promise<ObjectStore> {
    return new Objm(this.#lives.now().js).open(checkpointBucket, false);
  }

  async list(signal: AbortSignal): Promise<CheckpointInfo[]> {
    signal.throwIfAborted();
    const found: CheckpointInfo[] = [];
    for (const { name, metadata } of await (await this.#store()).list()) {
      if (!name.startsWith(HEAD)) continue;
      try {
        const { v: _v, tables: _tables, ...info } = headOf(name, metadata);
        found.push(info);
      } catch (err) {
        if (!(err instanceof BadRecordError)) throw err;
        this.#lives.kit.log.warn({ err }, "a checkpoint is unreadable and left out");
      }
    }
    return found.sort((a, b) => a.seq - b.seq);
  }

  async *read(of: CheckpointInfo, table: string, signal: AbortSignal): AsyncGenerator<StoredEntry> {
    signal.throwIfAborted();
    const store = await this.#store();
    const head = await store.info(nameOf(of));
    const name = head === null ? undefined : headOf(nameOf(of), head.metadata).tables[table];
    const found = name === undefined ? null : await store.get(name);
    if (found === null) throw new Error(`checkpoint ${of.seq}: ${table} is gone`);
    // A stream that is made with a signal that has aborted fails where nobody listens yet, and the process with it.
    signal.throwIfAborted();
    const unzipped = Readable.fromWeb(found.data as Parameters<typeof Readable.fromWeb>[0], {
      signal,
    }).compose(createGunzip());
    for await (const line of linesOf(unzipped)) yield entryOf(line, `checkpoint ${of.seq}/${table}`);
    const failed = await found.error;
    if (failed instanceof Error) throw failed;
  }

  async write(
    tables: ReadonlyMap<string, AsyncIterable<StoredEntry>>,
    finish: () => Promise<Omit<CheckpointInfo, "bytes">>,
    signal: AbortSignal,
  ): Promise<CheckpointInfo> {
    const store = await this.#store();
    const { kit } = this.#lives;
    const begun = `${Math.floor(kit.clock.now())}-${++this.#serial}`;
    const names: Record<string, string> = {};
    let bytes = 0;
    try {
      for (const [table, entries] of tables) {
        signal.throwIfAborted();
        const name = `table-${begun}-${table}`;
        const zipped = Readable.from(lines(entries)).compose(createGzip({ level: GZIP_LEVEL }));
        const put = await store.put({ name }, Readable.toWeb(zipped) as ReadableStream<Uint8Array>);
        names[table] = name;
        bytes += put.size;
      }
      const info = { ...(await finish()), bytes };
      const meta: CheckpointHead = { v: 1, ...info, tables: names };
      const metadata = { checkpoint: JSON.stringify(meta) };
      await store.putBlob({ name: nameOf(info), metadata }, Buffer.from("{}"));
      return info;
    } catch (error) {
      for (const name of Object.values(names)) {
        await store
          .delete(name)
          .catch((err: unknown) => kit.log.debug({ err, name }, "half a checkpoint is left"));
      }
      throw error;
    }
  }

  async remove(of: CheckpointInfo, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    const store = await this.#store();
    const head = await store.info(nameOf(of));
    if (head === null || head.deleted) return;
    await store.delete(nameOf(of));
    for (const name of Object.values(headOf(nameOf(of), head.metadata).tables)) await store.delete(name);
  }
}

function nameOf({ seq, log }: Pick<CheckpointInfo, "seq" | "log">): string {
  return `${HEAD}${Buffer.from(log).toString("base64url")}-${seq}`;
}

function headOf(name: string, metadata: Record<string, string> | undefined): CheckpointHead {
  const text = metadata?.["checkpoint"];
  try {
    return decode(CheckpointHead, JSON.parse(text ?? "null"), name);
  } catch (cause) {
    if (cause instanceof SyntaxError) throw new BadRecordError(`${name}: not JSON`, { cause });
    throw cause;
  }
}

async function* lines(entries: AsyncIterable<StoredEntry>): AsyncGenerator<string> {
  for await (const { key, revision, storedAt, value } of entries) {
    const bytes = Buffer.from(value.buffer, value.byteOffset, value.byteLength);
    const text = isUtf8(bytes) ? [bytes.toString("utf8")] : [null, bytes.toString("base64")];
    yield `${JSON.stringify([key, revision, storedAt, ...text])}\n`;
  }
}

function entryOf(line: string, subject: string): StoredEntry {
  const [key, revision, storedAt, text, base64] = decode(CheckpointLine, JSON.parse(line), subject);
  return {
    key,
    revision,
    storedAt,
    value: text === null ? Buffer.from(base64 ?? "", "base64") : Buffer.from(text),
  };
}

async function* linesOf(chunks: AsyncIterable<Buffer>): AsyncGenerator<string> {
  let rest: Buffer[] = [];
  for await (const chunk of chunks) {
    let begin = 0;
    for (let end = chunk.indexOf(10); end >= 0; end = chunk.indexOf(10, begin)) {
      rest.push(chunk.subarray(begin, end));
      yield Buffer.concat(rest).toString("utf8");
      rest = [];
      begin = end + 1;
    }
    if (begin < chunk.length) rest.push(chunk.subarray(begin));
  }
}
