import assert from "node:assert/strict";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { BusForbiddenError, reachOf } from "@sluice/contracts";
import { createKit } from "@sluice/service-kit";
import { mayTouch, sampleKeys } from "./expected-permissions.ts";
import { type Guarded, prepareGuarded, storeOf } from "./guarded-server.ts";
import { writeCredentials } from "./nats-auth.ts";
import { NatsStore } from "./nats-store.ts";
import type { StoredEntry } from "./store.ts";

let guarded: Guarded;
before(async () => {
  guarded = await prepareGuarded();
});
after(() => guarded[Symbol.asyncDispose]());

test("each component does its work with the credential that it has", { timeout: 240_000 }, async () => {
  await using server = await guarded.startServer();
  const stop = new AbortController();
  const { signal } = stop;
  const following: Promise<void>[] = [];
  const stores: NatsStore[] = [];
  try {
    // A member waits for whoever sets up the bus.
    const early = storeOf(server, guarded.userNamed("member-watcher-member1"), stop);
    stores.push(early);
    await delay(100);
    assert.equal(early.connected, false);
    for (const user of [
      guarded.userNamed("aggregator"),
      ...guarded.written.filter(({ name }) => name !== "aggregator"),
    ]) {
      const store = storeOf(server, user, stop);
      stores.push(store);
      await store.ready(signal);
      for (const { table, reads, writes, reaps } of reachOf(user.user)) {
        const keys = sampleKeys[table.name] ?? [];
        const told: string[] = [];
        for (const filter of reads) {
          const caughtUp = Promise.withResolvers<void>();
          following.push(
            store.follow(
              table,
              filter,
              {
                restart: () => {},
                entry: ({ key }: StoredEntry) => void told.push(key),
                caughtUp: () => caughtUp.resolve(),
                disconnected: () => {},
              },
              signal,
            ),
          );
          await caughtUp.promise;
        }
        for (const key of keys) {
          // An `id` of another shape would be another life of the servers.
          if (table.name === "boot") continue;
          const value = Buffer.from(user.name);
          if (writes.length > 0 && mayTouch("writes", user.user, table, key)) {
            assert.ok((await store.put(table, key, value, null, signal)).ok, `${user.name} ${key}`);
          }
          if (mayTouch("reads", user.user, table, key) && reads.length > 0) {
            await store.get(table, key, signal);
          }
        }
        if (reads.includes(">")) await store.lastRevision(table, signal);
        if (reaps === true) await store.removeMessage(table, 1, signal);
        const foreign = told.filter((key) => !mayTouch("reads", user.user, table, key));
        assert.deepEqual(foreign, [], `${user.name} is told of ${table.name}`);
      }
    }
    await early.ready(signal);
  } finally {
    stop.abort();
    await Promise.all(following);
    await Promise.all(stores.map((store) => store.close()));
  }
});

const strangers: readonly (readonly [string, () => Promise<string | undefined>, RegExp])[] = [
  ["without a credential", async () => undefined, /does not let member-watcher in with no credential/],
  [
    "with a credential that the bus does not know",
    async () => {
      const [stranger] = await writeCredentials(join(guarded.root, "strangers"), [
        { component: "aggregator" },
      ]);
      return stranger?.file;
    },
    /does not let member-watcher in with user U[A-Z2-7]{55} of .*aggregator\.nk/,
  ],
  [
    "with a file that is not there",
    async () => join(guarded.root, "nothing.nk"),
    /nothing\.nk cannot be read \(ENOENT\)/,
  ],
  [
    "with a file that holds something else",
    async () => import.meta.filename,
    /credentials\.test\.ts holds no seed/,
  ],
];
for (const [who, file, message] of strangers) {
  test(`a process ${who} is told so, by file and user`, { timeout: 240_000 }, async () => {
    await using server = await guarded.startServer();
    const nkey = await file();
    const stop = new AbortController();
    const kit = createKit({ service: "test", signal: stop.signal });
    const files = nkey === undefined ? {} : { nkey };
    const store = new NatsStore({ url: server.url, name: "member-watcher", files, kit });
    await assert.rejects(store.ready(stop.signal), (error: unknown) => {
      assert.ok(error instanceof BusForbiddenError);
      assert.equal(error.exit, 77);
      assert.match(error.message, message);
      return true;
    });
    stop.abort();
    await store.close();
  });
}
