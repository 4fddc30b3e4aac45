import assert from "node:assert/strict";
import { test } from "node:test";
import type { JetStreamManager } from "@nats-io/jetstream";
import type { Msg, NatsConnection } from "@nats-io/transport-node";
import { systemClock } from "@sluice/service-kit";
import { followTail } from "./ordered-tail.ts";

/** A server's side of one consumer, message by message. */
class FakeServer {
  readonly answered: string[] = [];
  /** Where each consumer was to begin, 1 where it did not say. */
  readonly began: number[] = [];
  #deliver: (message: Msg) => void = () => {};
  #created = Promise.withResolvers<{ num_pending: number }>();

  readonly connection = {
    subscribe: (_subject: string, { callback }: { callback(err: Error | null, message: Msg): void }) => {
      this.#deliver = (message) => callback(null, message);
      return { closed: new Promise(() => {}), unsubscribe: () => {} };
    },
    publish: (subject: string) => void this.answered.push(subject),
  } as unknown as NatsConnection;

  readonly jsm = {
    consumers: {
      add: (_stream: string, { opt_start_seq = 1 }: { readonly opt_start_seq?: number }) => {
        this.began.push(opt_start_seq);
        return this.#created.promise;
      },
    },
  } as unknown as JetStreamManager;

  constructor(version = "2.12.0") {
    Object.assign(this.connection, { info: { version } });
  }

  created(pending: number): void {
    this.#created.resolve({ num_pending: pending });
    this.#created = Promise.withResolvers();
  }

  message(delivery: number, sequence: number, pending: number): void {
    const reply = `$JS.ACK.KV_sluice_slices.c.1.${sequence}.${delivery}.1000000000.${pending}`;
    this.#deliver({ subject: `$KV.sluice_slices.k${sequence}`, reply, data: new Uint8Array(1) } as Msg);
  }

  control(code: number, description: string, stalled = ""): void {
    const headers = { code, description, get: () => stalled };
    const respond = () => void this.answered.push(description);
    this.#deliver({ subject: "inbox", reply: "", headers, respond } as unknown as Msg);
  }
}

async function tail(
  body: (server: FakeServer, told: string[], turn: () => Promise<void>) => Promise<void>,
  options: {
    readonly clock?: typeof systemClock;
    readonly version?: string;
    /** It ends by itself, which is waited for; else it is stopped. */
    readonly ends?: true;
  } = {},
): Promise<{ readonly told: string[]; readonly error: Error }> {
  const server = new FakeServer(options.version);
  const told: string[] = [];
  const stop = new AbortController();
  const running = followTail(
    {
      connection: server.connection,
      jsm: server.jsm,
      inboxPrefix: "_INBOX",
      stream: "KV_sluice_slices",
      prefix: "$KV.sluice_slices.",
      filter: ">",
      from: 1,
      clock: options.clock ?? systemClock,
      signal: stop.signal,
    },
    {
      begun: () => void told.push("begun"),
      heard: () => {},
      stalled: () => void told.push("stalled"),
      entry: ({ key, revision }) => void told.push(`${key}@${revision}`),
      caughtUp: () => void told.push("caught-up"),
    },
  ).then(
    () => new Error("it ended"),
    (error: Error) => error,
  );
  const turn = () => new Promise<void>((resolve) => setImmediate(resolve));
  await body(server, told, turn);
  if (options.ends !== true) {
    for (let turns = 0; turns < 8; turns++) await turn();
    stop.abort(new Error("stopped by the test"));
  }
  return { told, error: await running };
}

test("a delivery that is missing ends the tail, and what came after it is not told", async () => {
  const { told, error } = await tail(
    async (server) => {
      server.created(3);
      server.message(1, 11, 2);
      server.message(3, 13, 0);
    },
    { ends: true },
  );
  assert.match(error.message, /delivery 2 is missing/);
  assert.deepEqual(told, ["begun", "k11@11"]);
});

test("all that was there is told before it is caught up, also where the numbers of what is left are never 0", async () => {
  const { told } = await tail(async (server, _told, turn) => {
    server.created(2);
    await turn();
    server.message(1, 11, 5);
    server.message(2, 15, 7);
    server.message(3, 16, 7);
  });
  assert.deepEqual(told, ["begun", "k11@11", "k15@15", "caught-up", "k16@16"]);
});

test("what was there and is overwritten or removed before it is delivered keeps nobody waiting", async () => {
  const { told } = await tail(async (server, _told, turn) => {
    server.created(2);
    await turn();
    server.message(1, 11, 1);
    server.control(100, "Idle Heartbeat");
    server.control(100, "Idle Heartbeat");
  });
  assert.deepEqual(told, ["begun", "k11@11", "caught-up"]);
});

test("a server that waits for its reader says nothing of what it has, and makes it a slow one", async () => {
  const { told } = await tail(async (server, _told, turn) => {
    server.created(2);
    await turn();
    server.message(1, 11, 1);
    server.control(100, "FlowControl Request");
    server.control(100, "Idle Heartbeat", "$JS.FC.KV_sluice_slices.c.x");
    assert.deepEqual(server.answered, ["FlowControl Request", "$JS.FC.KV_sluice_slices.c.x"]);
    server.control(100, "Idle Heartbeat");
  });
  assert.deepEqual(told, ["begun", "k11@11", "stalled", "caught-up"]);
});

test("on a server that counts at each delivery a consumer that began on nothing is replaced once, and nothing is told twice", async () => {
  const body = async (server: FakeServer, _told: string[], turn: () => Promise<void>) => {
    server.created(0);
    await turn();
    server.message(1, 11, 0);
    server.message(2, 12, 0);
    await turn();
    if (server.began.length === 1) return server.message(3, 13, 0);
    assert.deepEqual(server.began, [1, 11]);
    server.created(2);
    server.message(1, 11, 1);
    server.message(2, 12, 0);
    await turn();
    server.message(3, 13, 0);
    await turn();
    assert.equal(server.began.length, 2);
  };
  const expected = ["begun", "caught-up", "k11@11", "k12@12", "k13@13"];
  for (const version of ["2.9.10", "2.9.15"]) {
    const { told } = await tail(body, { version });
    assert.deepEqual(told, expected, version);
  }
});

test("a consumer that the server took away ends the tail", async () => {
  const { error } = await tail(
    async (server) => {
      server.created(0);
      server.control(409, "Consumer Deleted");
    },
    { ends: true },
  );
  assert.match(error.message, /the server ended the consumer/);
});

test("silence ends the tail, but not that of a process that was itself stopped", async () => {
  let now = 0;
  let stopped = true;
  const clock = {
    ...systemClock,
    monotonic: () => now,
    sleep: async (_ms: number, signal: AbortSignal) => {
      await systemClock.sleep(1, signal);
      // At first the process sleeps for a minute where it asked for a second.
      now += stopped ? 60_000 : 1000;
      stopped = false;
    },
  };
  const seen: number[] = [];
  const { error } = await tail(
    async (server, _told, turn) => {
      server.created(0);
      while (now < 60_000) await turn();
      server.control(100, "Idle Heartbeat");
      seen.push(now);
    },
    { clock, ends: true },
  );
  assert.match(error.message, /nothing heard for 3500 ms/);
  assert.ok(seen[0]! >= 60_000, "it listened once more");
});
