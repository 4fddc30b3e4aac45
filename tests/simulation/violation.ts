/** What must never be, by the name under which `simulate` reports it. */
export type ViolationName =
  | "convergence"
  | "removed-out-of-ignorance"
  | "went-back"
  | "fenced-write"
  | "torn"
  | "emptied"
  | "not-served-again"
  | "drained-out-of-ignorance"
  | "undrained-out-of-ignorance"
  | "order-came-back"
  | "two-proxies-hurt"
  | "profile-missing"
  | "bad-object-blocks"
  | "foreign-write"
  | "ended-by-itself"
  | "does-not-stop"
  | "runs-hot";

export interface Violation {
  readonly name: ViolationName;
  /** Virtual time, ms. */
  readonly at: number;
  /** What was seen, and what should have been. */
  readonly what: string;
}
