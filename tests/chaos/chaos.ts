import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { loadavg, tmpdir } from "node:os";
import { join } from "node:path";
import { monitorEventLoopDelay } from "node:perf_hooks";
import { setTimeout as delay } from "node:timers/promises";
import { SeededRandom } from "../simulation/seeded-random.ts";
import { checkedOut } from "./checked-out.ts";
import { Churn } from "./churn.ts";
import { answerDifferences, converge, copyDifferences, differences, inTime } from "./converged.ts";
import { FleetWatch } from "./fleet-watch.ts";
import { judgeAnswer, Load } from "./load.ts";
import { perform } from "./perform.ts";
import { plantFault } from "./plant.ts";
import type { Plant } from "./plants.ts";
import type { Result } from "./results.ts";
import { planSchedule, type Schedule, scheduleInWords } from "./schedule.ts";
import { World, type WorldOptions } from "./world.ts";

export interface ChaosOptions {
  readonly seeds: readonly number[];
  readonly signal: AbortSignal;
  readonly bus: WorldOptions["bus"];
  /** Faults that nobody is told of, in the first schedule: they have to be found. */
  readonly plants?: readonly Plant[];
  /** How long everything may take to be as it shall, after the last fault, ms; default 10,000. */
  readonly convergeMs?: number;
  log(line: string): void;
  onResult(result: Result): void;
}

const CONVERGE_MS = 10_000;
/** How long a world may take from nothing to its first convergence. */
const START_MS = 60_000;
/**
 * How long the copies on disk may take beyond that: agents write them at most a twentieth of the time, so that one that took
 * half a second is followed by ten without.
 */
const COPY_MS = 30_000;
const PER_SECOND = 100;
/** Schedules after which a world is replaced, so that none of it grows old. */
const WORLD_SCHEDULES = 25;
/** Violations of one schedule that are written down; the rest is only counted. */
const MOST_SAID = 20;

/** Runs a schedule for each seed, one after another, on as few worlds as may be. */
export async function chaos(options: ChaosOptions): Promise<void> {
  const { seeds, signal, log } = options;
  for (let next = 0; next < seeds.length && !signal.aborted; ) {
    const dir = await mkdtemp(join(tmpdir(), "sluice-chaos-"));
    let keep = false;
    try {
      await using stage = await Stage.start(dir, options.bus, signal);
      for (let used = 0; used < WORLD_SCHEDULES && next < seeds.length && !keep; used++) {
        const seed = seeds[next++];
        if (seed === undefined || signal.aborted) break;
        const result = await stage.run(
          seed,
          options.convergeMs ?? CONVERGE_MS,
          next === 1 ? options.plants : [],
        );
        options.onResult(result);
        keep = result.outcome === "violation";
        report(result, dir, log);
      }
    } catch (error) {
      keep = !signal.aborted;
      if (keep) throw new Error(`${(error as Error).message}; logs: ${join(dir, "logs")}`, { cause: error });
    } finally {
      if (!keep) await rm(dir, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 });
    }
  }
}

function report(result: Result, dir: string, log: (line: string) => void): void {
  const { seed, outcome, requests, failed, converged_ms } = result;
  const converged =
    converged_ms === null ? "not converged" : `converged after ${Math.round(converged_ms)} ms`;
  log(
    `seed ${seed}: ${outcome}, ${requests} requests, ${failed} failed, ${converged}; lag ${result.lag_ms} ms`,
  );
  if (outcome === "ok") return;
  for (const fault of result.faults) log(`    ${fault}`);
  for (const violation of result.violations) log(`  ! ${violation}`);
  log(`  logs: ${join(dir, "logs")} (chaos.log says what was done when)`);
  log(`  again: npm run chaos -- --schedules 1 --seed ${seed}`);
}

/** A world with requests going through it, and whoever watches. */
class Stage implements AsyncDisposable {
  readonly #world: World;
  readonly #load: Load;
  readonly #watch: FleetWatch;
  readonly #lag = monitorEventLoopDelay({ resolution: 10 });
  readonly #version: string;
  #violations: string[] = [];
  #more = 0;

  private constructor(world: World, load: Load, watch: FleetWatch, version: string) {
    this.#world = world;
    this.#load = load;
    this.#watch = watch;
    this.#version = version;
    this.#lag.enable();
  }

  static async start(dir: string, bus: WorldOptions["bus"], signal: AbortSignal): Promise<Stage> {
    await mkdir(dir, { recursive: true });
    await using stack = new AsyncDisposableStack();
    const world = stack.use(
      await World.start({ dir, signal, bus, processes: { watchers: 3, aggregators: 2, renderers: 2 } }),
    );
    const { members } = world;
    let stage: Stage | null = null;
    const violated = (what: string) => stage?.violated(what);
    const watch = stack.use(await FleetWatch.start(world, violated));
    const load = new Load({
      proxies: world.proxies,
      services: members.services,
      perSecond: PER_SECOND,
      judge: (service, body) => {
        const pod = members.named(body.trim());
        const mayNow = pod !== undefined && members.mayAnswer(pod);
        return judgeAnswer(pod, body, service, mayNow, watch.calmAt);
      },
      onWrong: violated,
    });
    stack.defer(() => load.stop());
    const come = await converge(
      async () => [...(await differences({ world, watch, load })), ...(await copyDifferences(world))],
      performance.now(),
      START_MS,
      signal,
    );
    if (come.ms === null) throw new Error(`the world did not come to be: ${come.left.join("; ")}`);
    stage = new Stage(world, load, watch, await checkedOut(import.meta.dirname));
    stage.#stack = stack.move();
    return stage;
  }

  #stack: AsyncDisposableStack | null = null;

  violated(what: string): void {
    this.#world.note(`VIOLATION ${what}`);
    if (this.#violations.length < MOST_SAID) this.#violations.push(what);
    else this.#more++;
  }

  async run(seed: number, convergeMs: number, plants: readonly Plant[] = []): Promise<Result> {
    const world = this.#world;
    const { members, bus } = world;
    const schedule = planSchedule(seed, world.shape);
    const faults = scheduleInWords(schedule, bus.ports.length);
    world.note(`--- seed ${seed}: ${faults.join("; ")}`);
    this.#load.take();
    this.#lag.reset();
    this.#watch.calmAt = performance.now();
    const churn = new Churn(members, new SeededRandom(`${seed} churn`), (what) => world.note(what));
    await this.#perform(schedule);
    for (const plant of plants) if (plant !== "row") await plantFault(world, plant);
    await churn.stop();
    await members.settle();
    world.note("no fault and no change from here on");
    const seen = { world, watch: this.#watch, load: this.#load };
    const come = await converge(() => differences(seen), performance.now(), convergeMs, world.signal);
    for (const late of inTime(come, convergeMs)) this.violated(late);
    const { ms } = come;
    if (ms !== null) {
      world.note(`converged after ${Math.round(ms)} ms`);
      // Only requests can tell: the agent knows nothing of it, and the next change of that row would mend it.
      if (plants.includes("row")) {
        await plantFault(world, "row");
        for (const wrong of await answerDifferences(seen)) this.violated(wrong);
      }
      await this.#copied();
    }
    bus.check();
    for (const problem of world.problems.splice(0)) this.violated(problem);
    await members.forgetEnded();
    const tally = this.#load.take();
    if (tally.requests === 0) this.violated("no request was answered, well or badly");
    const violations = this.#violations;
    if (this.#more > 0) violations.push(`and ${this.#more} more`);
    this.#violations = [];
    this.#more = 0;
    return {
      seed,
      outcome: violations.length === 0 ? "ok" : "violation",
      converged_ms: ms === null ? null : Math.round(ms),
      requests: tally.requests,
      failed: tally.failed,
      moved: tally.moved,
      longest_ms: Math.round(tally.longestMs),
      lag_ms: Math.round(this.#lag.max / 1e6),
      changes: churn.changes,
      faults,
      violations,
      at: new Date().toISOString(),
      load_1m: Math.round((loadavg()[0] ?? 0) * 10) / 10,
      version: this.#version,
      bus: bus.ports.length > 1 ? "cluster" : "single",
    };
  }

  /** The next schedule may kill nginx and agent together: then the copies are all that a proxy has. */
  async #copied(): Promise<void> {
    const { signal } = this.#world;
    const come = await converge(() => copyDifferences(this.#world), performance.now(), COPY_MS, signal);
    for (const late of inTime(come, COPY_MS)) this.violated(`copies on disk ${late}`);
  }

  async #perform(schedule: Schedule): Promise<void> {
    const world = this.#world;
    // A schedule of faults that are over at once would show nothing of changes.
    const least = delay(2000, undefined, { signal: world.signal });
    await Promise.all([perform(world, schedule), least]);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#lag.disable();
    await this.#stack?.disposeAsync();
  }
}
