import assert from "node:assert/strict";
import { mock, test } from "node:test";
import { JetStreamApiError } from "@nats-io/jetstream";
import { type Msg, type NatsConnection, PermissionViolationError } from "@nats-io/transport-node";
import { BusUnreachableError } from "@sluice/contracts";
import { ANSWER_MS, NatsPublisher } from "./nats-publisher.ts";

const turn = () => new Promise((resolve) => setImmediate(resolve));

/** A server's side: what was published, and answers to it. */
class FakeServer {
  readonly got: { readonly subject: string; readonly reply: string }[] = [];
  now = 0;
  #deliver: (error: Error | null, message: Msg) => void = () => {};
  readonly publisher: NatsPublisher;

  constructor() {
    const connection = {
      subscribe: (_inbox: string, { callback }: { callback(error: Error | null, message: Msg): void }) => {
        this.#deliver = callback;
      },
      publish: (subject: string, _value: Uint8Array, { reply = "" }) => {
        if (subject === "closed") throw new Error("the connection is closed");
        this.got.push({ subject, reply });
      },
    } as unknown as NatsConnection;
    const clock = { monotonic: () => this.now };
    this.publisher = new NatsPublisher({ connection, inboxPrefix: "_INBOX", clock });
  }

  get subjects(): string[] {
    return this.got.map(({ subject }) => subject);
  }

  answer(subject: string, text: string, code = 0): void {
    const to = this.got.find((each) => each.subject === subject)?.reply ?? "nobody";
    const json = () => JSON.parse(text) as unknown;
    const message = { subject: to, data: Buffer.from(text), json, headers: { code } };
    this.#deliver(null, message as unknown as Msg);
  }
}

const value = Buffer.from("{}");

test("what is published in one turn goes out behind it, all at once and in its order", async () => {
  const server = new FakeServer();
  const { publisher } = server;
  const first = publisher.publish({ subject: "a", value });
  await null;
  publisher.send({ subject: "b", value });
  await null;
  const last = publisher.publish({ subject: "c", value });
  assert.deepEqual(server.subjects, []);
  await turn();
  assert.deepEqual(server.subjects, ["a", "b", "c"]);
  server.answer("c", '{"stream":"KV_x","seq":8}');
  server.answer("a", '{"stream":"KV_x","seq":7}');
  assert.deepEqual(await Promise.all([first, last]), [7, 8]);
});

test("what the server says against it, and an answer that is none, are errors of that one", async () => {
  const server = new FakeServer();
  const asked = ["refused", "unread", "nameless", "nobody", "closed", "taken"].map((subject) =>
    server.publisher.publish({ subject, value }),
  );
  const outcomes = Promise.allSettled(asked);
  await turn();
  server.answer("refused", '{"error":{"code":400,"err_code":10071,"description":"wrong last sequence"}}');
  server.answer("unread", "no JSON");
  server.answer("nameless", "{}");
  server.answer("nobody", "", 503);
  server.answer("taken", '{"stream":"KV_x","seq":1}');
  const [refused, unread, nameless, nobody, closed, taken] = await outcomes;
  assert.ok(refused?.status === "rejected" && refused.reason instanceof JetStreamApiError);
  assert.equal(refused.reason.code, 10071);
  for (const each of [unread, nameless, nobody]) {
    assert.ok(each?.status === "rejected" && each.reason instanceof BusUnreachableError);
  }
  assert.match(String(closed?.status === "rejected" && closed.reason), /the connection is closed/);
  assert.deepEqual(taken, { status: "fulfilled", value: 1 });
});

test("each waits for its answer as long as a write may take, and no longer", async () => {
  mock.timers.enable({ apis: ["setTimeout"] });
  try {
    const server = new FakeServer();
    const pass = (ms: number) => {
      server.now += ms;
      mock.timers.tick(ms);
    };
    const first = server.publisher.publish({ subject: "first", value });
    const answered = server.publisher.publish({ subject: "answered", value });
    await turn();
    pass(ANSWER_MS - 1000);
    const second = server.publisher.publish({ subject: "second", value });
    await turn();
    server.answer("answered", '{"seq":3}');
    assert.equal(await answered, 3);
    const late = assert.rejects(first, BusUnreachableError);
    pass(1000);
    await late;
    server.answer("second", '{"seq":4}');
    assert.equal(await second, 4);
    const third = server.publisher.publish({ subject: "third", value });
    pass(ANSWER_MS);
    await assert.rejects(third, BusUnreachableError);
  } finally {
    mock.timers.reset();
  }
});

test("nothing goes out that was given up before, and nobody who waited is answered", async () => {
  const server = new FakeServer();
  const sent = server.publisher.publish({ subject: "sent", value });
  await turn();
  const kept = server.publisher.publish({ subject: "kept", value });
  server.publisher.drop(new BusUnreachableError("the connection ended"));
  await assert.rejects(sent, BusUnreachableError);
  await assert.rejects(kept, BusUnreachableError);
  const next = server.publisher.publish({ subject: "next", value });
  await turn();
  assert.deepEqual(server.subjects, ["sent", "next"]);
  server.answer("next", '{"seq":2}');
  assert.equal(await next, 2);
});

test("who may not publish at a subject is told so at once, and others wait on", async () => {
  const server = new FakeServer();
  const forbidden = server.publisher.publish({ subject: "forbidden", value });
  const allowed = server.publisher.publish({ subject: "allowed", value });
  await turn();
  const violation = PermissionViolationError.parse('Permissions Violation for Publish to "forbidden"');
  assert.ok(violation !== null);
  server.publisher.refused(violation);
  await assert.rejects(forbidden, PermissionViolationError);
  server.answer("allowed", '{"seq":5}');
  assert.equal(await allowed, 5);
});
