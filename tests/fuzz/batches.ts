import { setImmediate as breathe } from "node:timers/promises";
import { trialAuthority, trialCertificate } from "@sluice/native-tools/testing";
import { objectOf } from "./certain-objects.ts";
import type { HostileObject } from "./hostile-object.ts";
import { NginxJudge, type Owned } from "./judge-nginx.ts";
import { Judge, type Pem, type Rendered } from "./judge-object.ts";
import { shrinkJson } from "./shrink-json.ts";

export interface Violation {
  /** Of the object, to run it again. */
  readonly seed: string;
  readonly what: string;
  /** As small as it could be made. */
  readonly object: HostileObject;
}

/** Violations of a batch that are made small, and those that are looked for at all. */
const MAX_TOLD = 3;
const MAX_FOUND = 10;
/** Characters of an object that is made small: each of hundreds of tries costs what it costs. */
const MAX_SHRUNK = 500_000;

/** What came of objects that violated nothing: who reaches nothing finds nothing. */
export interface Reached {
  readonly profiles: number;
  readonly rows: number;
  readonly secrets: number;
}

interface Judged {
  readonly seed: string;
  readonly object: HostileObject;
  readonly rendered: Rendered;
  readonly foreign: boolean;
}

/** Judges objects by themselves, then together by a real nginx. */
export class Batches implements AsyncDisposable {
  readonly #nginx: NginxJudge;
  readonly #judge: Judge;
  readonly #signal: AbortSignal;

  private constructor(nginx: NginxJudge, pem: Pem, signal: AbortSignal) {
    this.#nginx = nginx;
    this.#signal = signal;
    this.#judge = new Judge(nginx.options, pem);
  }

  static async start(signal: AbortSignal): Promise<Batches> {
    const issuer = await trialAuthority();
    const { cert, key } = await trialCertificate({ names: ["shop.example.test"], issuer });
    return new Batches(await NginxJudge.start(signal), { cert, key, ca: issuer.cert }, signal);
  }

  get owned(): Owned {
    return this.#nginx.owned;
  }

  /** When the run is to stop: what was found until then. */
  async run(
    seeds: readonly string[],
  ): Promise<{ readonly violations: Violation[]; readonly reached: Reached }> {
    const judged: Judged[] = [];
    const violations: Violation[] = [];
    try {
      await this.#find(seeds, judged, violations);
    } catch (error) {
      if (!this.#signal.aborted) throw error;
    }
    const rows = judged.flatMap(({ rendered }) => rendered.rows);
    return {
      violations,
      reached: {
        profiles: judged.reduce((sum, { rendered }) => sum + rendered.profiles.size, 0),
        rows: rows.length,
        secrets: rows.filter(({ k }) => k === "secret").length,
      },
    };
  }

  async #find(seeds: readonly string[], judged: Judged[], found: Violation[]): Promise<void> {
    for (const seed of seeds) {
      if (found.length >= MAX_FOUND) return;
      await this.#mayGoOn();
      const object = objectOf(seed);
      const what = this.#problemOf(object, (rendered) => {
        judged.push({ seed, object, rendered, foreign: object.kind === "rows" });
      });
      if (what === null) continue;
      const same = async (smaller: HostileObject) => {
        await this.#mayGoOn();
        return kindOf(this.#problemOf(smaller)) === kindOf(what);
      };
      found.push(await this.#told(seed, object, what, same, found.length));
    }
    for (let rest = judged; rest.length > 0; ) {
      const what = await this.#nginxProblem(rest);
      if (what === null) break;
      const one = await this.#first(rest);
      if (one === null) {
        const [first] = rest as [Judged];
        found.push({
          seed: first.seed,
          what: `${what} (with ${rest.length} objects at once only)`,
          object: first.object,
        });
        break;
      }
      const said = (await this.#nginxProblem([one])) ?? what;
      const same = async (smaller: HostileObject) => {
        let again: Judged | null = null;
        const problem = this.#problemOf(smaller, (rendered) => {
          again = { ...one, object: smaller, rendered };
        });
        return (
          problem === null && again !== null && kindOf(await this.#nginxProblem([again])) === kindOf(said)
        );
      };
      found.push(await this.#told(one.seed, one.object, said, same, found.length));
      if (found.length >= MAX_TOLD) break;
      rest = rest.filter((each) => each !== one);
    }
  }

  /** Whoever says that it is enough must be heard between two objects. */
  async #mayGoOn(): Promise<void> {
    await breathe();
    this.#signal.throwIfAborted();
  }

  async #told(
    seed: string,
    object: HostileObject,
    what: string,
    same: (smaller: HostileObject) => Promise<boolean>,
    before: number,
  ): Promise<Violation> {
    const small = before < MAX_TOLD && JSON.stringify(object).length <= MAX_SHRUNK;
    if (!small) return { seed, what, object };
    try {
      return { seed, what, object: await shrinkJson(object, same) };
    } catch (error) {
      if (!this.#signal.aborted) throw error;
      return { seed, what, object };
    }
  }

  #problemOf(object: HostileObject, good?: (rendered: Rendered) => void): string | null {
    try {
      const rendered = this.#judge.judge(object);
      good?.(rendered);
      return null;
    } catch (error) {
      // Whatever is thrown: nothing that anybody writes may be too much for us.
      return error instanceof Error ? `${error.name}: ${error.message}` : String(error);
    }
  }

  async #nginxProblem(batch: readonly Judged[]): Promise<string | null> {
    try {
      await this.#nginx.judge(batch);
      return null;
    } catch (error) {
      // What was broken off says nothing about an object.
      this.#signal.throwIfAborted();
      return error instanceof Error ? `${error.name}: ${error.message}` : String(error);
    }
  }

  /** An object by which the batch fails by itself; null: none does. */
  async #first(batch: readonly Judged[]): Promise<Judged | null> {
    const [only] = batch;
    if (batch.length === 1) return only ?? null;
    const half = batch.slice(0, batch.length / 2);
    if ((await this.#nginxProblem(half)) !== null) return this.#first(half);
    const rest = batch.slice(half.length);
    return (await this.#nginxProblem(rest)) === null ? null : this.#first(rest);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#nginx[Symbol.asyncDispose]();
  }
}

/** A problem without what differs from object to object. */
function kindOf(what: string | null): string | null {
  return what === null ? null : what.replaceAll(/"(?:[^"\\]|\\.)*"|[0-9]+/g, "").slice(0, 120);
}
