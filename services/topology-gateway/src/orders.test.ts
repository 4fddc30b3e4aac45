import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import type { Bus } from "@sluice/bus";
import { MemoryServer, memoryBus } from "@sluice/bus/testing";
import {
  BusUnreachableError,
  type IntentRecord,
  intentsTable,
  OrderOvertakenError,
  OrderPendingError,
} from "@sluice/contracts";
import { createKit } from "@sluice/service-kit";
import { OrderBook } from "./order-book.ts";
import { Orders } from "./orders.ts";

const unjoin: IntentRecord = { verb: "unjoin", cluster: "member1", at: 1, by: "ada" };
const key = "unjoin.member1";

/** A bus with gateways on it, and every word that the table ever had, as a reader was told: who ordered it, or null. */
function world(t: TestContext) {
  const server = new MemoryServer();
  const end = new AbortController();
  const { signal } = end;
  const bus = () => memoryBus({ role: "topology-gateway", signal, server });
  const running: Promise<void>[] = [];
  const said: (string | null)[] = [];
  const reader = bus().view(intentsTable, { onChange: (_key, order) => void said.push(order?.by ?? null) });
  t.after(async () => {
    end.abort();
    await Promise.all(running);
  });
  const gateway = (more: Partial<Pick<Bus, "compareAndSet">> = {}, book = new OrderBook()) => {
    const of = bus();
    const kit = createKit({ service: "topology-gateway", signal });
    const compareAndSet: Bus["compareAndSet"] = (...args) => of.compareAndSet(...args);
    const orders = new Orders(
      { connected: true, view: (...args) => of.view(...args), compareAndSet, ...more },
      kit,
      book,
    );
    running.push(orders.done);
    return orders;
  };
  return { server, signal, bus, gateway, reader, said };
}

/** A book that has read one word about the order. */
function knowing(intent: IntentRecord | undefined, generation: number): OrderBook {
  const book = new OrderBook();
  book.note(key, intent, { revision: 1, generation });
  return book;
}

test("an order that is on its way when it is taken back does not come to stand, and one that lands twice stands once", async (t) => {
  const { signal, bus, gateway } = world(t);
  const orders = gateway();
  await orders.caughtUp(signal);
  assert.equal(await orders.takeBack(unjoin), null);
  const late = bus();
  assert.equal(await late.compareAndSet(intentsTable, key, unjoin, { revision: 0, generation: 1 }), false);
  assert.deepEqual(await orders.put(unjoin), unjoin);
  assert.deepEqual(await orders.takeBack(unjoin), unjoin);
  for (const revision of [0, 1, 2]) {
    assert.equal(await late.compareAndSet(intentsTable, key, unjoin, { revision, generation: 9 }), false);
  }
  assert.equal(orders.standing.size, 0);
});

test("each word has a higher number than the one before it, by whatever clock", async (t) => {
  const { server, signal, gateway } = world(t);
  const orders = gateway({}, knowing(undefined, Number.MAX_SAFE_INTEGER - 10));
  await orders.caughtUp(signal);
  const numbers: number[] = [];
  for (const on of [true, false, true]) {
    await (on ? orders.put(unjoin) : orders.takeBack(unjoin));
    numbers.push(JSON.parse(Buffer.from(server.get("intents", key)!.value).toString()).generation);
  }
  const first = Number.MAX_SAFE_INTEGER - 9;
  assert.deepEqual(numbers, [first, first + 1, first + 2]);
});

test("who lost a race is told what stands: the same order is his own, the opposite one is named", async (t) => {
  const { signal, bus, gateway } = world(t);
  const first = bus();
  let said: IntentRecord | undefined = { ...unjoin, by: "grace" };
  // Somebody else's word lands while this one is on its way.
  const overtaken: Bus["compareAndSet"] = async (table, at, _value, { revision, generation }) => {
    await first.compareAndSet(intentsTable, key, said, { revision, generation });
    return first.compareAndSet(table, at, _value, { revision, generation });
  };
  const orders = gateway({ compareAndSet: overtaken });
  await orders.caughtUp(signal);
  assert.equal((await orders.put(unjoin)).by, "grace");
  await assert.rejects(
    orders.takeBack(unjoin),
    (error: unknown) =>
      error instanceof OrderOvertakenError && /unjoin member1 was ordered anew .*grace/.test(error.message),
  );
  said = undefined;
  await assert.rejects(orders.put(unjoin), OrderOvertakenError);
  assert.equal(orders.standing.size, 0);
});

test("an order without an answer is tried again, and is pending after a while", async (t) => {
  const { signal, gateway, said } = world(t);
  let tries = 0;
  const orders = gateway({
    compareAndSet: async () => {
      tries += 1;
      throw new BusUnreachableError("no answer");
    },
  });
  await orders.caughtUp(signal);
  await assert.rejects(orders.put(unjoin), OrderPendingError);
  assert.ok(tries > 1);
  assert.deepEqual([orders.standing.size, said.length], [0, 0]);
});

test("of two gateways that write again what the bus has lost, the one that knows better is first", async (t) => {
  const { signal, gateway, reader, said } = world(t);
  const away = gateway({}, knowing(unjoin, 3));
  const there = gateway({}, knowing(undefined, 4));
  // Both have read the empty table before either writes.
  await Promise.all([away, there].map((each) => each.caughtUp(signal)));
  assert.equal(away.standing.size, 1);
  await reader.when(() => said.length > 0, signal);
  await t.waitFor(() => assert.equal(away.standing.size, 0), { timeout: 60_000 });
  assert.deepEqual(said, [null]);
});

test("who comes too late with an older word is overruled, and alone he is right", async (t) => {
  const { signal, bus, gateway, reader, said } = world(t);
  const away = gateway({}, knowing(unjoin, 3));
  await away.caughtUp(signal);
  await reader.when(() => said.length > 0, signal);
  assert.deepEqual(said, ["ada"]);
  const back = gateway({}, knowing(undefined, 4));
  await reader.when(() => said.length > 1, signal);
  assert.deepEqual(said, ["ada", null]);
  // What was sent in another life of the servers, and lands in this one.
  const { revision } = reader;
  await bus().compareAndSet(intentsTable, key, unjoin, { revision, generation: 3 });
  await reader.when(() => said.length > 3, signal);
  assert.deepEqual(said, ["ada", null, "ada", null]);
  assert.equal(back.standing.size, 0);
});

test("what nobody can read is written over by what was known", async (t) => {
  const { server, signal, gateway, reader, said } = world(t);
  server.put("intents", key, Buffer.from("nonsense"), null);
  const orders = gateway({}, knowing(undefined, 4));
  await orders.caughtUp(signal);
  await reader.when(() => said.length > 0, signal);
  assert.deepEqual(said, [null]);
});
