import { type ApiError, JetStreamApiError } from "@nats-io/jetstream";
import {
  createInbox,
  type Msg,
  type MsgHdrs,
  type NatsConnection,
  type PermissionViolationError,
} from "@nats-io/transport-node";
import { BusUnreachableError } from "@sluice/contracts";
import type { Kit } from "@sluice/service-kit";

/** How long a write may take, an election of the stream's leader included, ms. */
export const ANSWER_MS = 5000;
const NO_RESPONDERS = 503;

export interface Publication {
  readonly subject: string;
  readonly value: Uint8Array;
  readonly headers?: MsgHdrs;
}

interface Asked {
  readonly subject: string;
  /** By the monotonic clock, ms. */
  readonly until: number;
  resolve(sequence: number): void;
  reject(error: Error): void;
}

export interface PublisherOptions {
  readonly connection: NatsConnection;
  /** Where this client may listen, e.g. `_INBOX`. */
  readonly inboxPrefix: string;
  readonly clock: Pick<Kit["clock"], "monotonic">;
}

/**
 * Publishes into streams. The client's own `publish` writes to the socket for each message, and makes a timer, two
 * promises that race and an Error with its stack for each; all of that costs more than what is said. Here everything of
 * one turn of the event loop goes out in one write, in order, over one subscription for all answers.
 */
export class NatsPublisher {
  readonly #connection: NatsConnection;
  readonly #clock: PublisherOptions["clock"];
  readonly #inbox: string;
  /** What waits for its answer by the last token of the subject that it comes to; all wait as long, so the oldest is first. */
  readonly #asked = new Map<string, Asked>();
  #gathered: (Publication & { readonly token?: string })[] = [];
  #tokens = 0;
  #late: NodeJS.Timeout | null = null;

  constructor({ connection, inboxPrefix, clock }: PublisherOptions) {
    this.#connection = connection;
    this.#clock = clock;
    this.#inbox = createInbox(inboxPrefix);
    connection.subscribe(`${this.#inbox}.*`, {
      callback: (error, message) => {
        if (error === null) this.#answer(message);
        else this.#rejectAll(error);
      },
    });
  }

  /** Without waiting for an answer. */
  send(publication: Publication): void {
    this.#gather(publication);
  }

  /**
   * @returns its sequence in the stream
   * @throws JetStreamApiError what the server says against it
   * @throws BusUnreachableError when no answer came: it may or may not have happened
   */
  publish(publication: Publication): Promise<number> {
    const token = (this.#tokens++).toString(36);
    this.#gather({ ...publication, token });
    return new Promise((resolve, reject) => {
      const until = this.#clock.monotonic() + ANSWER_MS;
      this.#asked.set(token, { subject: publication.subject, until, resolve, reject });
      this.#late ??= setTimeout(() => this.#expire(), ANSWER_MS);
    });
  }

  /** The server does not let this client publish there. */
  refused(error: PermissionViolationError): void {
    for (const [token, { subject, reject }] of this.#asked) {
      if (subject === error.subject && this.#asked.delete(token)) reject(error);
    }
  }

  /** Nobody who waits now is answered any more, and what has not gone out never does. */
  drop(error: Error): void {
    this.#gathered = [];
    this.#rejectAll(error);
  }

  #gather(publication: Publication & { readonly token?: string }): void {
    if (this.#gathered.push(publication) === 1) setImmediate(() => this.#flush());
  }

  #flush(): void {
    const publications = this.#gathered;
    this.#gathered = [];
    for (const { subject, value, headers, token } of publications) {
      try {
        this.#connection.publish(subject, value, {
          ...(headers === undefined ? {} : { headers }),
          ...(token === undefined ? {} : { reply: `${this.#inbox}.${token}` }),
        });
      } catch (error) {
        if (token !== undefined) this.#take(token)?.reject(error as Error);
      }
    }
  }

  #take(token: string): Asked | undefined {
    const asked = this.#asked.get(token);
    this.#asked.delete(token);
    return asked;
  }

  #answer(message: Msg): void {
    const asked = this.#take(message.subject.slice(this.#inbox.length + 1));
    if (asked === undefined) return;
    if (message.data.length === 0 && message.headers?.code === NO_RESPONDERS) {
      return asked.reject(new BusUnreachableError(`${asked.subject}: no stream takes it`));
    }
    try {
      const { error, seq } = message.json<{ readonly error?: ApiError; readonly seq?: number }>();
      if (error !== undefined) asked.reject(new JetStreamApiError(error));
      else if (typeof seq === "number") asked.resolve(seq);
      else asked.reject(new BusUnreachableError(`${asked.subject}: the answer names no sequence`));
    } catch (cause) {
      asked.reject(new BusUnreachableError(`${asked.subject}: the answer cannot be read`, { cause }));
    }
  }

  #expire(): void {
    this.#late = null;
    const now = this.#clock.monotonic();
    for (const [token, { subject, until, reject }] of this.#asked) {
      if (until > now) {
        this.#late = setTimeout(() => this.#expire(), until - now);
        return;
      }
      this.#asked.delete(token);
      reject(new BusUnreachableError(`${subject}: no answer within ${ANSWER_MS} ms`));
    }
  }

  #rejectAll(error: Error): void {
    const asked = [...this.#asked.values()];
    this.#asked.clear();
    for (const { reject } of asked) reject(error);
    if (this.#late !== null) clearTimeout(this.#late);
    this.#late = null;
  }
}
