import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { connect, headers } from "@nats-io/transport-node";
import { fleetTable, slicesTable, subjectOf, type TableSpec } from "@sluice/contracts";
import { readCredentials } from "./credentials.ts";
import { type Guarded, prepareGuarded, storeOf } from "./guarded-server.ts";
import type { StoredEntry } from "./store.ts";

let guarded: Guarded;
before(async () => {
  guarded = await prepareGuarded();
});
after(() => guarded[Symbol.asyncDispose]());

test("a message that empties a table, or that the server relays for somebody, is none", {
  timeout: 240_000,
}, async () => {
  await using server = await guarded.startServer();
  const stop = new AbortController();
  const { signal } = stop;
  const operator = storeOf(server, guarded.userNamed("operator"), stop);
  try {
    await operator.ready(signal);
    const put = (table: TableSpec, key: string, text: string) =>
      operator.put(table, key, Buffer.from(text), null, signal);
    await put(slicesTable, "member1.shop.cart.a", "own");
    await put(slicesTable, "member2.shop.cart.a", "another's");
    await put(fleetTable, "default.routes.a", "route");
    const { options } = await readCredentials({ nkey: guarded.userNamed("member-watcher-member1").file });
    const member = await connect({ servers: server.url, ...options });
    const rollup = headers();
    rollup.set("Nats-Rollup", "all");
    member.publish("$KV.sluice_slices.member1.shop.cart.b", "emptied", { headers: rollup });
    // Servers do not ask whether somebody may publish where he wants his answer.
    member.publish("$JS.API.DIRECT.GET.KV_sluice_slices.$KV.sluice_slices.member1.shop.cart.a", "", {
      reply: "$KV.sluice_fleet.default.routes.a",
    });
    await member.flush();
    await member.close();
    const now = await operator.get(slicesTable, "member2.shop.cart.a", signal);
    assert.equal(Buffer.from(now?.value ?? []).toString(), "another's");
    assert.equal(await operator.get(slicesTable, "member1.shop.cart.b", signal), null);
    let relayed: StoredEntry | null = null;
    for (let tries = 0; tries < 6000 && (relayed?.revision ?? 1) < 2; tries++) {
      relayed = await operator.get(fleetTable, "default.routes.a", signal);
      await delay(10);
    }
    assert.equal(relayed?.revision, 2, "the server relays it");
    assert.equal(relayed?.value.byteLength, 0, "and no reader takes it for a record");
    const told = Promise.withResolvers<StoredEntry>();
    const following = operator.follow(
      fleetTable,
      "default.>",
      {
        restart: () => {},
        entry: (entry: StoredEntry) => told.resolve(entry),
        caughtUp: () => {},
        disconnected: () => {},
      },
      signal,
    );
    assert.equal((await told.promise).value.byteLength, 0);
    stop.abort();
    await following;
  } finally {
    stop.abort();
    await operator.close();
  }
});

test("what the server relays for somebody is not taken for what it has accepted", {
  timeout: 240_000,
}, async () => {
  await using server = await guarded.startServer();
  const stop = new AbortController();
  const { signal } = stop;
  const aggregator = storeOf(server, guarded.userNamed("aggregator"), stop);
  const own = "member1.shop.cart.a";
  const accepted: string[] = [];
  await aggregator.ready(signal);
  const begun = Promise.withResolvers<void>();
  const hearing = aggregator.log.accepted(
    {
      begun: () => begun.resolve(),
      entry: ({ table, key }) => void accepted.push(`${table}/${key}`),
      broken: () => {},
    },
    signal,
  );
  try {
    await begun.promise;
    const { options } = await readCredentials({ nkey: guarded.userNamed("member-watcher-member1").file });
    const member = await connect({ servers: server.url, ...options });
    member.publish(subjectOf(slicesTable, own), "own");
    await member.flush();
    member.publish(`$JS.API.DIRECT.GET.KV_sluice_slices.${subjectOf(slicesTable, own)}`, "", {
      reply: "sluice.accepted.topology.shop.cart._service",
    });
    member.publish(subjectOf(slicesTable, own), "own again");
    await member.flush();
    await member.close();
    for (let tries = 0; accepted.length < 2; tries++) {
      assert.ok(tries < 6000, `told: ${accepted.join(" ")}`);
      await delay(10);
    }
    await delay(50);
    assert.deepEqual(accepted, [`slices/${own}`, `slices/${own}`]);
  } finally {
    stop.abort();
    await hearing;
    await aggregator.close();
  }
});
