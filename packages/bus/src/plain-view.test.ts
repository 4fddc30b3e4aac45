import assert from "node:assert/strict";
import { test } from "node:test";
import { type IntentRecord, intentsTable } from "@sluice/contracts";
import { MemoryServer } from "./memory-store.ts";
import { memoryBus } from "./testing.ts";

const order = (cluster: string): IntentRecord => ({ verb: "drain", cluster, at: 1, by: "ada" });

test("what a snapshot lacks is kept, and forgotten only by who asks for that, unless it was written again by then", async (t) => {
  const server = new MemoryServer();
  const end = new AbortController();
  t.after(() => end.abort());
  const { signal } = end;
  const bus = memoryBus({ role: "test", signal, server });
  await bus.publish(intentsTable, "drain.member1", order("member1"));
  await bus.publish(intentsTable, "drain.member2", order("member2"));
  const gone: string[] = [];
  const keeps = bus.view(intentsTable);
  const forgets = bus.view(intentsTable, {
    forgetMs: 0,
    onChange: (key, value) => void (value === undefined && gone.push(key)),
  });
  const later = bus.view(intentsTable, { forgetMs: 300 });
  for (const view of [keeps, forgets, later]) await view.when(() => view.size === 2, signal);
  server.restart({ wipe: true });
  await forgets.when(() => forgets.size === 0, signal);
  await later.when(() => later.isDoubtful("drain.member1"), signal);
  assert.equal(keeps.isDoubtful("drain.member1"), false);
  assert.deepEqual(gone, ["drain.member1", "drain.member2"]);
  await bus.publish(intentsTable, "drain.member2", order("member2"));
  await later.when(() => later.get("drain.member1") === undefined && later.size === 1, signal);
  assert.deepEqual(later.get("drain.member2"), order("member2"));
  assert.ok(["drain.member1", "drain.member2"].every((key) => !later.isDoubtful(key)));
  assert.equal(keeps.size, 2);
});

test("a key whose record cannot be read is named until something readable or nothing lies there", async (t) => {
  const server = new MemoryServer();
  const end = new AbortController();
  t.after(() => end.abort());
  const { signal } = end;
  const bus = memoryBus({ role: "test", signal, server });
  const view = bus.view(intentsTable);
  const writer = bus.writer(intentsTable);
  const store = server.connect();
  const key = "drain.member1";
  const spoil = async (text: string) => {
    await store.put(intentsTable, key, Buffer.from(text), null, signal);
    await view.upToDate(signal);
    assert.deepEqual([...view.unreadable], [key]);
  };
  await spoil(`{"v":2,"data":{}}`);
  writer.set(key, order("member1"));
  await view.when(() => view.unreadable.size === 0, signal);
  assert.deepEqual(view.get(key), order("member1"));
  await spoil("no JSON");
  assert.deepEqual(view.get(key), order("member1"), "what was held is kept");
  writer.remove(key);
  await view.when(() => view.unreadable.size === 0, signal);
  assert.equal(view.size, 0);
  await spoil("no JSON");
  server.restart({ wipe: true });
  await view.when(() => view.unreadable.size === 0, signal);
});
