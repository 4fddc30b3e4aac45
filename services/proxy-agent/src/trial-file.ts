import { rm } from "node:fs/promises";
import { join } from "node:path";
import { readIfThere, replaceFile, syncFolder } from "./private-file.ts";

/** What nginx is being brought to; on the disk while that goes on, so that an agent which it ends knows of it. */
interface Trial {
  readonly configuration: string;
  /** How often it was begun, this time included. */
  readonly begun: number;
}

export interface TrialStore {
  load(): Promise<Trial | null>;
  /** null: it is over, whatever came of it. */
  save(trial: Trial | null): Promise<void>;
}

export class TrialFile implements TrialStore {
  readonly #path: string;
  readonly #dir: string;

  constructor(dir: string) {
    this.#dir = dir;
    this.#path = join(dir, "trial.json");
  }

  async load(): Promise<Trial | null> {
    const text = await readIfThere(this.#path);
    // Our own file in a folder that is ours alone, replaced as a whole.
    return text === null ? null : (JSON.parse(text) as Trial);
  }

  async save(trial: Trial | null): Promise<void> {
    if (trial === null) return rm(this.#path, { force: true });
    await replaceFile(this.#path, `${JSON.stringify(trial)}\n`);
    // What follows may end the machine: the rename has to be on the disk before.
    await syncFolder(this.#dir);
  }
}
