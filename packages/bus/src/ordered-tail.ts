import { AckPolicy, DeliverPolicy, type JetStreamManager } from "@nats-io/jetstream";
import { createInbox, type Msg, type NatsConnection, nuid } from "@nats-io/transport-node";
import { type Kit, LinkedAbort, slept } from "@sluice/service-kit";
import { isOlder } from "./server-check.ts";
import type { StoredEntry } from "./store.ts";

/** How often the server says that it is still there when there is nothing to deliver, ms. */
const HEARTBEAT_MS = 1000;
/** After so long without a word the consumer is gone: its server died, or lost it at an election. */
const SILENT_MS = 3 * HEARTBEAT_MS + 500;
/** How long a consumer that nobody listens to stays with the server, ms. */
const ABANDONED_MS = 30_000;

/**
 * Older servers count at each delivery what a consumer has pending, if nothing that it wants was there when it was made:
 * they go through every subject of the stream for that. With 100,000 subjects it is most of what the server does.
 */
const COUNTS_ONCE = [2, 9, 15] as const;

/** The consumer does not go on; whoever followed it begins another behind what it was told. */
class TailBrokenError extends Error {}

export interface TailOptions {
  readonly connection: NatsConnection;
  readonly jsm: JetStreamManager;
  /** Where this client may listen, e.g. `_INBOX`. */
  readonly inboxPrefix: string;
  readonly stream: string;
  /** What goes before a key in a subject, e.g. `$KV.sluice_slices.`. */
  readonly prefix: string;
  /** NATS filter over keys. */
  readonly filter: string;
  /** First sequence; 1: everything there is. */
  readonly from: number;
  readonly clock: Kit["clock"];
  /** Ends it. */
  readonly signal: AbortSignal;
}

export interface TailSink {
  /** The consumer stands; once, before anything else. */
  begun(): void;
  entry(entry: StoredEntry): void;
  /** Everything that was there at the beginning has been delivered; once. */
  caughtUp(): void;
  /** The server spoke: nothing that it has was held back until now. */
  heard(): void;
  /** The server holds back what it has until this reader has taken in what was sent: it is a slow one. */
  stalled(): void;
}

/**
 * Delivers a stream's messages in their order, none twice and none left out, over one consumer that lives with one
 * server and in its memory. It makes no second attempt: a gap, silence or a lost consumer is an error.
 * @throws TailBrokenError, or what the server answered when the consumer was to be made
 */
export async function followTail(options: TailOptions, sink: TailSink): Promise<never> {
  const once = { begun: false, caughtUp: false };
  let { from } = options;
  let told = 0;
  const overConsumers: TailSink = {
    ...sink,
    begun: () => {
      if (!once.begun) sink.begun();
      once.begun = true;
    },
    entry: (entry) => {
      // Where a consumer takes over from another it begins with what that one has delivered last.
      if (entry.revision <= told) return;
      told = entry.revision;
      sink.entry(entry);
    },
    caughtUp: () => {
      if (!once.caughtUp) sink.caughtUp();
      once.caughtUp = true;
    },
  };
  for (;;) from = await followConsumer({ ...options, from }, overConsumers);
}

/** @returns the sequence from which another consumer shall go on */
async function followConsumer(options: TailOptions, sink: TailSink): Promise<number> {
  const { connection, jsm, stream, prefix, filter, clock } = options;
  const own = new LinkedAbort(options.signal);
  const { signal } = own;
  signal.throwIfAborted();
  const broken = Promise.withResolvers<never>();
  broken.promise.catch(() => {});
  const replaced = Promise.withResolvers<number>();
  const countsOften = connection.info !== undefined && isOlder(connection.info.version, COUNTS_ONCE);
  const inbox = createInbox(options.inboxPrefix);
  let heardAt = clock.monotonic();
  let delivered = 0;
  /** How many were there at the beginning; null: the server has not said. */
  let there: number | null = null;
  let newest = 0;
  const replaceIfSlow = () => {
    if (countsOften && there === 0 && newest > 0) replaced.resolve(newest);
  };
  const take = (message: Msg) => {
    heardAt = clock.monotonic();
    sink.begun();
    sink.heard();
    const status = message.headers?.code ?? 0;
    if (status !== 0) {
      const held = control(message, status, connection);
      // Nothing to deliver: what was there has either been delivered or been overwritten and delivered later.
      if (held === "idle" && there !== null) sink.caughtUp();
      if (held === "stalled") sink.stalled();
      if (held === "gone") broken.reject(new TailBrokenError(`${stream}: the server ended the consumer`));
      return;
    }
    const at = deliveryOf(message.reply ?? "");
    if (at.delivery !== delivered + 1) {
      return broken.reject(new TailBrokenError(`${stream}: delivery ${delivered + 1} is missing`));
    }
    delivered = at.delivery;
    sink.entry({
      key: message.subject.slice(prefix.length),
      value: isRelayed(message.headers) ? NOTHING : message.data,
      revision: at.sequence,
      storedAt: at.storedAt,
    });
    if (at.pending === 0 || (there !== null && delivered >= there)) sink.caughtUp();
    newest = at.sequence;
    replaceIfSlow();
  };
  const subscription = connection.subscribe(inbox, {
    callback: (err, message) => {
      if (signal.aborted) return;
      if (err !== null) return broken.reject(err);
      try {
        take(message);
      } catch (error) {
        broken.reject(error);
      }
    },
  });
  void subscription.closed.then(() => broken.reject(new TailBrokenError("the connection ended")));
  const stop = () => broken.reject(signal.reason);
  signal.addEventListener("abort", stop, { once: true });
  try {
    const { num_pending } = await Promise.race([
      jsm.consumers.add(stream, {
        name: nuid.next(),
        deliver_subject: inbox,
        filter_subject: prefix + filter,
        ...(options.from <= 1
          ? { deliver_policy: DeliverPolicy.All }
          : { deliver_policy: DeliverPolicy.StartSequence, opt_start_seq: options.from }),
        ack_policy: AckPolicy.None,
        max_deliver: 1,
        flow_control: true,
        idle_heartbeat: HEARTBEAT_MS * 1e6,
        inactive_threshold: ABANDONED_MS * 1e6,
        num_replicas: 1,
        mem_storage: true,
      }),
      broken.promise,
    ]);
    sink.begun();
    there = num_pending;
    // History is one: the first `there` deliveries hold everything that was there and has not been overwritten.
    if (delivered >= there) sink.caughtUp();
    replaceIfSlow();
    const next = await Promise.race([
      replaced.promise,
      broken.promise,
      silence(() => heardAt, clock, signal).then(() => null),
    ]);
    if (next === null) throw new TailBrokenError(`${stream}: nothing heard for ${SILENT_MS} ms`);
    return next;
  } finally {
    signal.removeEventListener("abort", stop);
    subscription.unsubscribe();
    own.abort();
  }
}

const NOTHING = new Uint8Array();

/**
 * Whether a stored message is an answer of the server's to a question about another message. Servers check what a client
 * publishes, not where it wants its answers: somebody without the right to a key has had his own record relayed to it.
 * Such a message is no record; a key's holder writes it over.
 */
export function isRelayed(headers: { get(name: string): string } | undefined): boolean {
  return headers !== undefined && headers.get("Nats-Stream") !== "";
}

/** Answers what the server asks between messages. */
function control(
  message: Msg,
  status: number,
  connection: NatsConnection,
): "idle" | "busy" | "stalled" | "gone" {
  if (status !== 100) return "gone";
  if (message.headers?.description.toLowerCase().includes("flowcontrol") === true) {
    message.respond();
    return "busy";
  }
  const stalled = message.headers?.get("Nats-Consumer-Stalled") ?? "";
  if (stalled === "") return "idle";
  // The question that it waits on was lost on the way, or lies unread behind what was sent.
  connection.publish(stalled);
  return "stalled";
}

/** Resolves once nothing has been heard for too long; a process that was itself stopped listens once more before. */
async function silence(heardAt: () => number, clock: Kit["clock"], signal: AbortSignal): Promise<void> {
  let looked = clock.monotonic();
  while (await slept(clock, HEARTBEAT_MS, signal)) {
    const now = clock.monotonic();
    const stopped = now - looked > 2 * HEARTBEAT_MS;
    looked = now;
    if (!stopped && now - heardAt() > SILENT_MS) return;
  }
}

/** `$JS.ACK.<stream>.<consumer>.<tries>.<sequence>.<delivery>.<ns>.<pending>`, or with domain and account before the stream. */
function deliveryOf(reply: string) {
  const tokens = reply.split(".");
  const from = tokens.length >= 11 ? 6 : 4;
  const [, sequence, delivery, nanoseconds, pending] = tokens.slice(from).map(Number);
  if (tokens[1] !== "ACK" || pending === undefined || Number.isNaN(pending)) {
    throw new TailBrokenError(`${reply} is no delivery of JetStream's`);
  }
  return { sequence: sequence!, delivery: delivery!, storedAt: nanoseconds! / 1e6, pending };
}
