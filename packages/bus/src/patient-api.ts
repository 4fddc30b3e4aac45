import { JetStreamApiError, type JetStreamManager, jetstreamManager } from "@nats-io/jetstream";
import { type NatsConnection, PermissionViolationError } from "@nats-io/transport-node";

/**
 * How long each try of a question waits, ms. While a stream's leader is elected, or the stream is being made, a question
 * gets no answer at all, so a short wait and another try is what finds the new leader; a busy server is given longer.
 */
const TRIES_MS = [500, 1000, 2000, 4000] as const;

/** JetStream's API for questions that change nothing, and may be asked again. */
export interface PatientApi {
  /** @throws what the server answered, or that it did not after all tries */
  ask<T>(question: (jsm: JetStreamManager) => Promise<T>, wanted?: () => boolean): Promise<T>;
}

export async function patientApi(connection: NatsConnection): Promise<PatientApi> {
  const tries = await Promise.all(
    TRIES_MS.map((timeout) => jetstreamManager(connection, { timeout, checkAPI: false })),
  );
  return {
    async ask(question, wanted = () => true) {
      let last: unknown;
      for (const jsm of tries) {
        try {
          return await question(jsm);
        } catch (error) {
          const answered = error instanceof JetStreamApiError || error instanceof PermissionViolationError;
          if (answered || !wanted()) throw error;
          last = error;
        }
      }
      throw last;
    },
  };
}
