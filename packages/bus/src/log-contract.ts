import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import {
  clustersTable,
  encodeEnvelope,
  fleetTable,
  loggedTables,
  type SliceValue,
  slicesTable,
  type TableSpec,
  topologyTable,
} from "@sluice/contracts";
import { createKit } from "@sluice/service-kit";
import type { BusLog, LogEntry } from "./log.ts";
import { LogFeeder } from "./log-feeder.ts";
import { pastAt, reachOf } from "./past.ts";
import { type ContractServer, slice } from "./table-contract.ts";

const part = { scope: "member1", shard: "0" };

const json = (value: unknown) => Buffer.from(JSON.stringify(value));

/** A server with one client, and what a holder would write through it. */
class Stand implements AsyncDisposable {
  readonly #controller = new AbortController();
  readonly server: ContractServer;
  readonly store;
  readonly log: BusLog;
  readonly #feeding: Promise<void>;
  #claims = 0;

  constructor(server: ContractServer) {
    this.server = server;
    this.store = server.connect(createKit({ service: "test", signal: this.signal }));
    const { log } = this.store;
    assert.ok(log);
    this.log = log;
    const kit = createKit({ service: "test", signal: this.signal });
    this.#feeding = new LogFeeder(log, () => true, kit).run(this.signal);
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  async put(spec: TableSpec, key: string, value: Uint8Array): Promise<void> {
    await this.store.boot(this.signal);
    // As holders write: the server must not refuse the log what it has accepted in the table.
    const expected = (await this.store.get(spec, key, this.signal))?.revision ?? 0;
    const result = await this.store.put(spec, key, value, expected, this.signal);
    assert.ok(result.ok);
  }

  /** A new claim of member1's slices; `synced` makes what is missing an absence. */
  async claim(): Promise<string> {
    const n = ++this.#claims;
    const id = `claim-${n}`;
    const boot = await this.store.boot(this.signal);
    const claim = { v: 1, id, boot, layout: 0, holder: "member-watcher.a", at: 0 };
    await this.put(slicesTable, slicesTable.keys.claimKey(part, n), json(claim));
    return id;
  }

  async synced(id: string): Promise<void> {
    await this.put(slicesTable, slicesTable.keys.syncedKey(part), json({ v: 1, id, at: 0 }));
  }

  async slice(id: string, name: string, address: string | null): Promise<void> {
    const [key, data] = slice(name, address ?? "10.0.0.1");
    const epoch = { n: this.#claims, id };
    const envelope =
      address === null ? ({ v: 1, epoch, deleted: true } as const) : ({ v: 1, epoch, data } as const);
    await this.put(slicesTable, key, encodeEnvelope(envelope));
  }

  async entries(from = 1): Promise<LogEntry[]> {
    return Array.fromAsync(this.log.read({ from }, this.signal));
  }

  async newest(): Promise<number> {
    for (const spec of loggedTables) await this.#caughtUp(spec);
    return (await this.log.extent(this.signal)).last;
  }

  /** Servers that have begun, or have just been asked for their first streams, may choose leaders for longer than one call waits. */
  async #caughtUp(spec: TableSpec): Promise<void> {
    const begun = performance.now();
    for (;;) {
      try {
        return await this.log.caughtUpWith(spec, this.signal);
      } catch (error) {
        if (performance.now() - begun > 120_000) throw error;
        await delay(200);
      }
    }
  }

  /** Addresses of member1's slices as they were believed at a sequence. */
  async addresses(seq: number): Promise<string[]> {
    const past = await pastAt(this.log, { seq }, [slicesTable], this.signal);
    const found: string[] = [];
    for (const [, value] of past.table(slicesTable).believed()) {
      const record = value as SliceValue;
      if ("endpoints" in record) found.push(...record.endpoints.flatMap(({ addresses }) => addresses));
    }
    return found.sort();
  }

  async checkpoint() {
    const { log, signal } = this;
    const extent = await log.extent(signal);
    const extents: Record<string, { life: string; revision: number }> = {};
    const tables = new Map();
    for (const spec of loggedTables) {
      extents[spec.name] = await log.tableExtent(spec, signal);
      tables.set(spec.name, log.snapshot(spec, ">", signal));
    }
    const place = { log: extent.id, from: extent.last, extents };
    return log.checkpoints.write(
      tables,
      async () => {
        const { last, lastAt } = await log.extent(signal);
        return { ...place, seq: last, at: lastAt };
      },
      signal,
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#controller.abort();
    await this.#feeding;
    await this.store.close();
    await this.server.close();
  }
}

/**
 * What every log does, whatever keeps it.
 * @param restarts false where it takes its servers a minute to be back
 */
export function logContract(
  name: string,
  start: () => Promise<ContractServer>,
  { restarts = true }: { readonly restarts?: boolean } = {},
): void {
  const timeout = 240_000;

  test(`${name}: the log holds what the logged tables took, in order, with its revision and the one before`, {
    timeout,
  }, async () => {
    await using stand = new Stand(await start());
    const id = await stand.claim();
    await stand.slice(id, "cart-1", "10.0.0.1");
    await stand.slice(id, "cart-2", "10.0.0.2");
    await stand.slice(id, "cart-1", "10.0.0.3");
    await stand.newest();
    const slices = (await stand.entries()).filter(({ table }) => table === "slices");
    assert.deepEqual(
      slices.map(({ key, revision, previous }) => [key.split(".").at(-1), revision, previous]),
      [
        ["1", 1, 0],
        ["cart-1", 2, 0],
        ["cart-2", 3, 0],
        ["cart-1", 4, 2],
      ],
    );
    assert.match(Buffer.from(slices[3]!.value).toString(), /10\.0\.0\.3/);
    const sequences = slices.map(({ seq }) => seq);
    assert.deepEqual(
      sequences,
      sequences.toSorted((a, b) => a - b),
    );
  });

  test(`${name}: of much at once the log holds each change once, in order and without a hole`, {
    timeout,
  }, async () => {
    await using stand = new Stand(await start());
    const id = await stand.claim();
    const writers = Array.from({ length: 8 }, async (_, w) => {
      for (let i = 0; i < 25; i++) await stand.slice(id, `cart-${w}`, `10.0.${w}.${i}`);
    });
    await Promise.all(writers);
    await stand.newest();
    const slices = (await stand.entries()).filter(({ table }) => table === "slices");
    assert.deepEqual(
      slices.map(({ revision }) => revision),
      Array.from({ length: 201 }, (_, i) => i + 1),
    );
    assert.equal(
      slices.filter(({ late }) => late).length,
      slices.findIndex(({ late }) => !late),
    );
  });

  test(`${name}: from wherever one reads to wherever, of all tables or of one, it is all that lies between`, {
    timeout,
  }, async () => {
    await using stand = new Stand(await start());
    const id = await stand.claim();
    for (let i = 0; i < 24; i++) {
      // A server that has read its files again counts wrongly what is left to deliver.
      if (i === 12 && restarts) {
        await stand.newest();
        await stand.server.restart();
        await stand.newest();
      }
      await stand.slice(id, `cart-${i % 3}`, `10.0.1.${i}`);
      await stand.put(topologyTable, `shop.web-${i % 4}._service`, json({ i }));
      for (let j = 0; j < 3; j++) await stand.put(clustersTable, `member${j}`, json({ i }));
    }
    const newest = await stand.newest();
    const all = await stand.entries();
    assert.equal(all.length, newest);
    for (const table of [undefined, "boot", "slices", "topology"]) {
      for (let from = 1; from <= newest + 1; from += 7) {
        for (const to of [Math.min(newest, from + 9), newest]) {
          const range = { from, to, ...(table === undefined ? {} : { table }) };
          const found = await Array.fromAsync(stand.log.read(range, stand.signal));
          assert.deepEqual(
            found.map(({ seq }) => seq),
            all
              .filter((each) => each.seq >= from && each.seq <= to && (table ?? each.table) === each.table)
              .map(({ seq }) => seq),
            `${table ?? "all"} from ${from} to ${to}`,
          );
        }
      }
    }
  });

  test(`${name}: who feeds it stops when told to, however long it has waited for something`, {
    timeout,
  }, async () => {
    await using stand = new Stand(await start());
    const id = await stand.claim();
    await stand.newest();
    // It has read where the log ends, and waits now.
    await delay(200);
    await stand.slice(id, "cart-1", "10.0.0.1");
    await stand.newest();
    // The end of the case waits for its end.
  });

  test(`${name}: of a fleet the log holds routes, profiles, upstreams, clusters and claims, never peers or certificates`, {
    timeout,
  }, async () => {
    await using stand = new Stand(await start());
    const kinds = [
      "routes.a",
      "profiles.a",
      "upstreams.a",
      "clusters.a",
      "peers.a.member1",
      "certs.a",
      "_meta.claim.1",
    ];
    for (const kind of kinds) await stand.put(fleetTable, `default.${kind}`, json({}));
    await stand.newest();
    const found = (await stand.entries()).filter(({ table }) => table === "fleet").map(({ key }) => key);
    assert.deepEqual(
      found.map((key) => key.split(".")[1]),
      ["routes", "profiles", "upstreams", "clusters", "_meta"],
    );
  });

  test(`${name}: a reader begins behind a time, and one that follows gets what comes`, {
    timeout,
  }, async () => {
    await using stand = new Stand(await start());
    const id = await stand.claim();
    await stand.slice(id, "cart-1", "10.0.0.1");
    await stand.slice(id, "cart-2", "10.0.0.2");
    const newest = await stand.newest();
    const entries = await stand.entries();
    const second = entries.findIndex(({ key }) => key.endsWith("cart-1"));
    const { at } = entries[second]!;
    const behind = entries.find((entry) => entry.at > at)?.seq ?? newest + 1;
    assert.equal(await stand.log.firstAfter(at, stand.signal), behind);
    assert.equal(await stand.log.firstAfter(at - 3_600_000, stand.signal), entries[0]!.seq);
    assert.equal(await stand.log.firstAfter(Date.now() + 3_600_000, stand.signal), newest + 1);

    const following = stand.log.read({ from: newest, follow: true }, stand.signal)[Symbol.asyncIterator]();
    assert.equal((await following.next()).value?.seq, newest);
    const next = following.next();
    await stand.slice(id, "cart-3", "10.0.0.3");
    const { value } = await next;
    assert.ok(value?.key.endsWith("cart-3"));
    await following.return?.(undefined);
  });

  test(`${name}: a past state is what readers believed at that sequence, neither a claim nor a record later`, {
    timeout,
  }, async () => {
    await using stand = new Stand(await start());
    const at: Record<string, number> = {};
    const first = await stand.claim();
    await stand.slice(first, "cart-1", "10.0.0.1");
    await stand.slice(first, "cart-2", "10.0.0.2");
    await stand.synced(first);
    at["synced"] = await stand.newest();
    const second = await stand.claim();
    at["claimed anew"] = await stand.newest();
    await stand.slice(first, "cart-3", "10.0.0.3");
    at["the former holder wrote"] = await stand.newest();
    await stand.slice(second, "cart-1", "10.0.0.9");
    at["the new holder wrote"] = await stand.newest();
    await stand.slice(second, "cart-2", null);
    await stand.synced(second);
    at["it synced"] = await stand.newest();

    assert.deepEqual(await stand.addresses(at["synced"]!), ["10.0.0.1", "10.0.0.2"]);
    assert.deepEqual(await stand.addresses(at["claimed anew"]!), ["10.0.0.1", "10.0.0.2"]);
    assert.deepEqual(await stand.addresses(at["the former holder wrote"]!), ["10.0.0.1", "10.0.0.2"]);
    assert.deepEqual(await stand.addresses(at["the new holder wrote"]!), ["10.0.0.2", "10.0.0.9"]);
    assert.deepEqual(await stand.addresses(at["it synced"]!), ["10.0.0.9"]);
  });

  test(`${name}: a checkpoint and the log behind it tell the same past as the whole log`, {
    timeout,
  }, async () => {
    await using stand = new Stand(await start());
    const id = await stand.claim();
    await stand.slice(id, "cart-1", "10.0.0.1");
    await stand.slice(id, "cart-2", "10.0.0.2");
    await stand.synced(id);
    await stand.newest();
    const checkpoint = await stand.checkpoint();
    assert.deepEqual(await stand.log.checkpoints.list(stand.signal), [checkpoint]);
    const read = await Array.fromAsync(stand.log.checkpoints.read(checkpoint, "slices", stand.signal));
    const there = await Array.fromAsync(stand.log.snapshot(slicesTable, ">", stand.signal));
    assert.deepEqual(
      read.map(({ key, revision, value }) => [key, revision, Buffer.from(value).toString()]),
      there.map(({ key, revision, value }) => [key, revision, Buffer.from(value).toString()]),
    );
    await stand.slice(id, "cart-1", "10.0.0.7");
    const newest = await stand.newest();
    assert.deepEqual(await stand.addresses(newest), ["10.0.0.2", "10.0.0.7"]);
    assert.deepEqual(await stand.addresses(checkpoint.seq), ["10.0.0.1", "10.0.0.2"]);
    // From before it only the log itself can tell.
    assert.deepEqual(await stand.addresses(checkpoint.seq - 2), ["10.0.0.1"]);
    await stand.log.checkpoints.remove(checkpoint, stand.signal);
    assert.deepEqual(await stand.log.checkpoints.list(stand.signal), []);
  });

  test(`${name}: a moment that the log does not reach is a named error with the oldest time`, {
    timeout,
  }, async () => {
    await using stand = new Stand(await start());
    await stand.slice(await stand.claim(), "cart-1", "10.0.0.1");
    const newest = await stand.newest();
    const { oldest } = await reachOf(stand.log, stand.signal);
    assert.ok(oldest);
    const early = pastAt(stand.log, { at: oldest.at - 60_000 }, [slicesTable], stand.signal);
    await assert.rejects(early, (error: Error & { code?: string }) => {
      assert.equal(error.code, "SLUICE_LOG_OUT_OF_REACH");
      assert.ok(error.message.includes(new Date(Math.ceil(oldest.at)).toISOString()), error.message);
      return true;
    });
    const late = pastAt(stand.log, { seq: newest + 1 }, [slicesTable], stand.signal);
    await assert.rejects(late, { code: "SLUICE_LOG_OUT_OF_REACH" });
  });

  test(`${name}: events are kept once an id`, { timeout }, async () => {
    await using stand = new Stand(await start());
    await stand.store.boot(stand.signal);
    assert.equal(await stand.log.events.last(stand.signal), null);
    const event = { subject: "sluice.events.v1.peers-changed.shop.cart", id: "a:1", value: json({ n: 1 }) };
    await stand.log.events.publish(event, stand.signal);
    await stand.log.events.publish({ ...event, value: json({ n: 2 }) }, stand.signal);
    const last = await stand.log.events.last(stand.signal);
    assert.equal(Buffer.from(last ?? []).toString(), '{"n":1}');
  });
}
