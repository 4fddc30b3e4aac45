import assert from "node:assert/strict";
import { test } from "node:test";
import { clustersTable } from "@sluice/contracts";
import { MemoryServer } from "./memory-store.ts";
import { shareFollowers } from "./shared-follow.ts";
import type { FollowSink, Store } from "./store.ts";

function reader(): FollowSink & { readonly keys: string[]; readonly whole: Promise<void> } {
  const { promise, resolve } = Promise.withResolvers<void>();
  const keys: string[] = [];
  return {
    keys,
    whole: promise,
    restart: () => {},
    entry: ({ key }) => void keys.push(key),
    caughtUp: () => resolve(),
    disconnected: () => {},
  };
}

async function stage() {
  const inner = new MemoryServer().connect();
  let follows = 0;
  const counting: Store = {
    ...inner,
    get connected() {
      return inner.connected;
    },
    get: (...args) => inner.get(...args),
    put: (...args) => inner.put(...args),
    removeMessage: (...args) => inner.removeMessage(...args),
    lastRevision: (...args) => inner.lastRevision(...args),
    boot: (signal) => inner.boot(signal),
    close: () => inner.close(),
    follow: (...args) => {
      follows++;
      return inner.follow(...args);
    },
  };
  const put = (key: string) =>
    inner.put(clustersTable, key, Buffer.from("{}"), null, new AbortController().signal);
  await put("member1");
  return { store: shareFollowers(counting), put, follows: () => follows };
}

test("followers that begin together share one consumer, and each ends by itself", async () => {
  const { store, put, follows } = await stage();
  const [one, two] = [reader(), reader()];
  const [first, second] = [new AbortController(), new AbortController()];
  const ended = store.follow(clustersTable, ">", one, first.signal);
  const other = store.follow(clustersTable, ">", two, second.signal);
  await Promise.all([one.whole, two.whole]);
  assert.equal(follows(), 1);
  first.abort();
  await ended;
  await put("member2");
  while (two.keys.length < 2) await new Promise((resolve) => setImmediate(resolve));
  assert.deepEqual(one.keys, ["member1"]);
  second.abort();
  await other;
  await put("member3");
  assert.deepEqual(two.keys, ["member1", "member2"]);
});

test("who ends in the very turn in which others begin leaves them their snapshot", async () => {
  const { store } = await stage();
  const gone = new AbortController();
  const ended = store.follow(clustersTable, ">", reader(), gone.signal);
  gone.abort();
  const stays = new AbortController();
  const next = reader();
  const other = store.follow(clustersTable, ">", next, stays.signal);
  const late = reader();
  const third = store.follow(clustersTable, ">", late, stays.signal);
  await Promise.all([ended, next.whole, late.whole]);
  assert.deepEqual([next.keys, late.keys], [["member1"], ["member1"]]);
  stays.abort();
  await Promise.all([other, third]);
});
