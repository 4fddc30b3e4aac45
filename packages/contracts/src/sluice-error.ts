/** Everything that `sluice` answers with a code. Match on `code`, not on the class: two copies of a package may be loaded. */
export class SluiceError extends Error {
  /** The code of docs/reference/errors.md, e.g. `SLUICE_UP_PORT_TAKEN`. */
  readonly code: string;
  /** The exit code of a command that fails with it: 1 failed, 2 findings, 64 usage, 65 bad input, 69 unreachable, 77 forbidden. */
  readonly exit: number;

  constructor(code: string, exit: number, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = new.target.name;
    this.code = code;
    this.exit = exit;
  }
}

export interface ErrorKind {
  readonly code: string;
  readonly exit: number;
  /** When it is seen, as a sentence for docs/reference/errors.md. */
  readonly when: string;
  /** What a person does about it. */
  readonly solve: string;
}

const kinds: ErrorKind[] = [];

/** Every code that exists, in the order in which errors.ts declares them. */
export const errorKinds: readonly ErrorKind[] = kinds;

/** Declares one failure that a user can meet: one code, one class, one line of docs/reference/errors.md. */
export function defineError(code: string, about: Omit<ErrorKind, "code">) {
  kinds.push({ code, ...about });
  return class extends SluiceError {
    static readonly code = code;
    constructor(message: string, options?: ErrorOptions) {
      super(code, about.exit, message, options);
    }
  };
}
