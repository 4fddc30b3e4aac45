import { streamOf, subjectOf, type TableSpec } from "@sluice/contracts";
import type { Kit } from "@sluice/service-kit";
import type { BusAccess } from "./bus-access.ts";
import { answered, type Life } from "./nats-lives.ts";
import { followTail } from "./ordered-tail.ts";
import { type ResumePoint, resumeFrom } from "./resume-point.ts";
import type { FollowSink } from "./store.ts";

type FollowerKit = Pick<Kit, "clock"> & Partial<Pick<Kit, "metrics">>;

/** Feeds one sink over any number of breaks. */
export class NatsFollower {
  readonly #spec: TableSpec;
  readonly #filter: string;
  readonly #sink: FollowSink;
  readonly #access: BusAccess;
  readonly #kit: FollowerKit;
  #point: ResumePoint | null = null;
  #heard = false;

  constructor(spec: TableSpec, filter: string, sink: FollowSink, access: BusAccess, kit: FollowerKit) {
    this.#spec = spec;
    this.#filter = filter;
    this.#sink = sink;
    this.#access = access;
    this.#kit = kit;
  }

  /** Whether the server has delivered anything, or said that there is nothing, since this was last asked. */
  heardSince(): boolean {
    const heard = this.#heard;
    this.#heard = false;
    return heard;
  }

  /** Until the tail breaks or the signal aborts. */
  async follow(life: Life, signal: AbortSignal): Promise<void> {
    const { clock } = this.#kit;
    const { jsm, boot, connection, inboxPrefix } = life;
    const stream = streamOf(this.#spec);
    // Who may not ask what stream this is cannot know that it is the same one, and takes a snapshot.
    const found = this.#access.asksState(this.#spec)
      ? await answered(
          life,
          life.api.ask((each) => each.streams.info(stream)),
        )
      : null;
    signal.throwIfAborted();
    const created = found === null ? null : String(found.created);
    const from =
      found === null || created === null
        ? null
        : resumeFrom(this.#point, {
            boot,
            created,
            lastSequence: found.state.last_seq,
            now: clock.monotonic(),
          });
    const begun = () => {
      if (from !== null) return this.#sink.resumed?.();
      this.#point = created === null ? null : { boot, created, sequence: 0, heardAt: clock.monotonic() };
      this.#sink.restart(boot);
    };
    await followTail(
      {
        connection,
        jsm,
        inboxPrefix,
        stream,
        prefix: subjectOf(this.#spec, ""),
        filter: this.#filter,
        from: from ?? 1,
        clock,
        signal,
      },
      {
        begun,
        heard: () => {
          this.#heard = true;
          if (this.#point !== null) this.#point = { ...this.#point, heardAt: clock.monotonic() };
        },
        entry: (entry) => {
          if (this.#point !== null) this.#point = { ...this.#point, sequence: entry.revision };
          this.#sink.entry(entry);
        },
        caughtUp: () => this.#sink.caughtUp(),
        stalled: () => this.#noteStall(),
      },
    );
  }

  /** The client's own `slowConsumer` is told of queues that it keeps; whoever is called for each message has none. */
  #noteStall(): void {
    this.#kit.metrics
      ?.counter(
        "sluice_bus_slow_consumer_total",
        "Times that the server held a table back because its reader had not taken in what was sent.",
        ["table"],
      )
      .inc({ table: this.#spec.name });
  }
}
