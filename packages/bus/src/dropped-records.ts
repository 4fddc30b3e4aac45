import type { MemberRecord } from "@sluice/contracts";

export type RecordProblem = NonNullable<MemberRecord["problems"]>[number];

/** Subjects that a heartbeat names. */
const MAX_SUBJECTS = 20;
const MAX_REASON = 200;

/**
 * Records that this process left out or could not write, by subject, for its heartbeat: the newest of them, each until
 * a good record has come at that subject. The counters of `/metrics` count all of them.
 */
export class DroppedRecords {
  readonly #bySubject = new Map<string, { reason: string; count: number }>();

  /** @param subject `<table>/<key>` @param reason for people */
  note(subject: string, reason: string): void {
    const count = (this.#bySubject.get(subject)?.count ?? 0) + 1;
    // The newest stands last.
    this.#bySubject.delete(subject);
    this.#bySubject.set(subject, { reason: reason.slice(0, MAX_REASON), count });
    const [oldest] = this.#bySubject.keys();
    if (oldest !== undefined && this.#bySubject.size > MAX_SUBJECTS) this.#bySubject.delete(oldest);
  }

  /** A good record has come there. */
  mend(subject: string): void {
    if (this.#bySubject.size > 0) this.#bySubject.delete(subject);
  }

  get problems(): RecordProblem[] {
    return [...this.#bySubject].map(([subject, { reason, count }]) => ({ subject, reason, count }));
  }
}
