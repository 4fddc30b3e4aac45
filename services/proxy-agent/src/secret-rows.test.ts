import assert from "node:assert/strict";
import { test } from "node:test";
import { fleetKeys, type RouteRow, type SecretRow } from "@sluice/contracts";
import { FleetRows } from "./fleet-rows.ts";
import { rowKey } from "./nginx-row.ts";
import { type OpenSealed, SecretOpener } from "./secret-opener.ts";

const KEY = "k".repeat(43);
const key = (id: string) => fleetKeys.secret("default", id);
const sealed = (box: string) => ({ key: KEY, box });

function secret(id: string, box: string): SecretRow {
  return { id, namespace: "shop", name: id, chain: `chain ${box}`, sealed: sealed(box) };
}

function route(host: string, certificate?: string, authorities?: string): RouteRow {
  return {
    host,
    paths: [],
    ...(certificate === undefined ? {} : { certificate }),
    ...(authorities === undefined ? {} : { clients: { authorities, depth: 1 } }),
  };
}

/** Opens when it is told to. */
class SlowOpener {
  readonly opened: string[] = [];
  readonly #waiting = new Map<string, { resolve(): void; reject(error: Error): void }>();

  readonly open: OpenSealed = (id, { box }) => {
    this.opened.push(`${id} ${box}`);
    return new Promise((resolve, reject) =>
      this.#waiting.set(`${id} ${box}`, { resolve: () => resolve({ key: `key ${box}` }), reject }),
    );
  };

  /** @param why it does not open */
  async finish(what: string, why?: string): Promise<void> {
    const waiting = this.#waiting.get(what);
    assert.ok(waiting !== undefined, what);
    if (why === undefined) waiting.resolve();
    else waiting.reject(new Error(why));
    await new Promise((resolve) => setImmediate(resolve));
  }
}

function world() {
  const slow = new SlowOpener();
  const opener = new SecretOpener(slow.open, (id) => rows.secretOpened(id));
  const rows = new FleetRows({ peers: new Map(), refused: [], secrets: opener });
  const set = (value: RouteRow) => rows.set(fleetKeys.route("default", value.host), value);
  /** Sends all that can be sent; nginx refuses these. */
  const flush = (refused: ReadonlyMap<string, string> = new Map()) => {
    const sent: string[] = [];
    for (let batch = rows.next(); batch.length > 0; batch = rows.next()) {
      for (const planned of batch) {
        sent.push(`${"del" in planned.row ? "-" : ""}${rowKey(planned.row as never)}`);
        const why = refused.get(planned.name);
        if (why === undefined) rows.taken(planned);
        else rows.refused(planned, why);
      }
    }
    return sent;
  };
  return { slow, rows, set, flush };
}

test("a route waits for a secret that is being opened, and goes after it", async () => {
  const { slow, rows, set, flush } = world();
  set(route("a.test", "tls"));
  rows.set(key("tls"), secret("tls", "one"));
  assert.deepEqual(flush(), []);
  assert.equal(rows.problems.length, 2);
  await slow.finish("tls one");
  assert.deepEqual(flush(), ["secret tls", "route a.test"]);
  assert.deepEqual(rows.problems, []);
  assert.equal(rows.secretCount, 1);
});

test("a route waits for no secret that is not there, cannot be opened, or is refused", async () => {
  const { slow, rows, set, flush } = world();
  set(route("a.test", "missing", "missing-ca"));
  assert.deepEqual(flush(), ["route a.test"]);
  rows.set(key("bad"), secret("bad", "one"));
  set(route("b.test", "bad"));
  assert.deepEqual(flush(), []);
  await slow.finish("bad one", "it does not open");
  assert.deepEqual(flush(), ["route b.test"]);
  assert.deepEqual(rows.problems, [{ key: key("bad"), problem: "it does not open" }]);
  rows.set(key("worse"), secret("worse", "one"));
  set(route("c.test", "worse"));
  assert.deepEqual(flush(), []);
  await slow.finish("worse one");
  const refused = new Map([["secret worse", "its private key is another one's"]]);
  assert.deepEqual(flush(refused), ["secret worse", "route c.test"]);
  // Tried again now and then, with the same answer; nothing goes round in circles.
  rows.retryRefused();
  assert.deepEqual(flush(refused), ["secret worse"]);
  // It comes after all.
  rows.set(key("missing"), secret("missing", "one"));
  assert.deepEqual(flush(), []);
  await slow.finish("missing one");
  assert.deepEqual(flush(), ["secret missing"]);
});

test("a secret that changes is opened once more, and only its newest box counts", async () => {
  const { slow, rows, flush } = world();
  rows.set(key("tls"), secret("tls", "one"));
  flush();
  rows.set(key("tls"), secret("tls", "two"));
  flush();
  await slow.finish("tls one");
  assert.deepEqual(flush(), []);
  await slow.finish("tls two");
  assert.deepEqual(flush(), ["secret tls"]);
  rows.set(key("tls"), secret("tls", "two"));
  assert.deepEqual(flush(), []);
  assert.deepEqual(slow.opened, ["tls one", "tls two"]);
  const [held] = [...rows.copy()].map(({ row }) => row);
  assert.deepEqual(held, { k: "secret", id: "tls", chain: "chain two", key: "key two" });
});

test("secrets go after the routes that named them, whether or not one still does", async () => {
  const { slow, rows, set, flush } = world();
  rows.set(key("tls"), secret("tls", "one"));
  rows.set(key("users"), secret("users", "one"));
  flush();
  await slow.finish("tls one");
  await slow.finish("users one");
  set(route("a.test", "tls"));
  set(route("b.test", "users"));
  flush();
  rows.set(fleetKeys.route("default", "a.test"), undefined);
  rows.set(key("tls"), undefined);
  // Somebody took this Secret away on purpose: what it let in must not come in any more.
  rows.set(key("users"), undefined);
  assert.deepEqual(flush(), ["-route a.test", "-secret tls", "-secret users"]);
});

test("what a copy on disk holds open is not opened again", () => {
  const { slow, rows, flush } = world();
  const row = { k: "secret", id: "tls", chain: "chain one", key: "key one" } as const;
  rows.remember(key("tls"), secret("tls", "one"), row);
  rows.meet([{ k: "secret", id: "tls" }]);
  rows.set(key("tls"), secret("tls", "one"));
  assert.deepEqual(flush(), ["secret tls"]);
  assert.deepEqual(slow.opened, []);
});

test("few boxes are opened at a time, and one that does not open keeps no other waiting", async () => {
  const slow = new SlowOpener();
  const done: string[] = [];
  const opener = new SecretOpener(slow.open, (id) => done.push(id));
  for (let i = 0; i < 6; i++) assert.equal(opener.of(secret(`s${i}`, "b")), null);
  assert.deepEqual(slow.opened, ["s0 b", "s1 b", "s2 b", "s3 b"]);
  // Gone before its turn.
  opener.forget("s4");
  await slow.finish("s1 b", "no");
  assert.deepEqual(slow.opened.slice(4), ["s5 b"]);
  for (const id of ["s0", "s2", "s3", "s5"]) await slow.finish(`${id} b`);
  assert.deepEqual(done.toSorted(), ["s0", "s1", "s2", "s3", "s5"]);
  assert.deepEqual(opener.of(secret("s1", "b")), { problem: "no" });
});
