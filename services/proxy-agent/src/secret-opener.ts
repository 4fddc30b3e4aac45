import type { Sealed, SealedContents, SecretRow } from "@sluice/contracts";
import type { NginxSecret } from "./nginx-row.ts";

/** A secret as nginx takes it, or why it cannot be opened. */
export type OpenedSecret = { readonly row: NginxSecret } | { readonly problem: string };

/** @throws SealedError: another key's, or changed on its way */
export type OpenSealed = (id: string, sealed: Sealed) => Promise<SealedContents>;

/** Opened at a time: WebCrypto works on threads, of which there are four. */
const AT_ONCE = 4;

interface Kept {
  readonly box: string;
  /** null: being opened, or waiting for it. */
  readonly contents: SealedContents | { readonly problem: string } | null;
}

/** Opens what is sealed, each box once, and remembers what was in it. Opening takes a moment: whoever asks is told when it is done. */
export class SecretOpener {
  readonly #open: OpenSealed;
  readonly #done: (id: string) => void;
  readonly #kept = new Map<string, Kept>();
  readonly #waiting = new Map<string, Sealed>();
  #running = 0;

  /** @param done told of each box that has been opened, or has turned out not to open */
  constructor(open: OpenSealed, done: (id: string) => void) {
    this.#open = open;
    this.#done = done;
  }

  /** null: it is being opened. */
  of(row: SecretRow): OpenedSecret | null {
    const { id, sealed } = row;
    if (sealed === undefined) return { row: nginxSecret(row, {}) };
    const kept = this.#kept.get(id);
    if (kept?.box !== sealed.box) {
      this.#kept.set(id, { box: sealed.box, contents: null });
      this.#waiting.set(id, sealed);
      this.#next();
      return null;
    }
    if (kept.contents === null) return null;
    if ("problem" in kept.contents) return { problem: kept.contents.problem };
    return { row: nginxSecret(row, kept.contents) };
  }

  /** What was opened before this process began. */
  remember({ id, sealed }: SecretRow, { key, users }: NginxSecret): void {
    if (sealed === undefined) return;
    const contents = { ...(key === undefined ? {} : { key }), ...(users === undefined ? {} : { users }) };
    this.#kept.set(id, { box: sealed.box, contents });
  }

  forget(id: string): void {
    this.#kept.delete(id);
    this.#waiting.delete(id);
  }

  #next(): void {
    while (this.#running < AT_ONCE) {
      const [first] = this.#waiting;
      if (first === undefined) return;
      const [id, sealed] = first;
      this.#waiting.delete(id);
      this.#running++;
      void this.#opened(id, sealed);
    }
  }

  async #opened(id: string, sealed: Sealed): Promise<void> {
    const contents = await this.#open(id, sealed).catch((error: unknown) => ({
      problem: error instanceof Error ? error.message : String(error),
    }));
    this.#running--;
    // Another box may have come meanwhile, or the secret may have gone.
    if (this.#kept.get(id)?.box === sealed.box) {
      this.#kept.set(id, { box: sealed.box, contents });
      this.#done(id);
    }
    this.#next();
  }
}

function nginxSecret({ id, chain, authorities }: SecretRow, { key, users }: SealedContents): NginxSecret {
  return {
    k: "secret",
    id,
    ...(chain === undefined ? {} : { chain }),
    ...(key === undefined ? {} : { key }),
    ...(authorities === undefined ? {} : { authorities }),
    ...(users === undefined ? {} : { users }),
  };
}
