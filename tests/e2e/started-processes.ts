import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { StartedWorld, WorldAddresses } from "../world/started-world.ts";
import { eventually } from "./scenario.ts";

/** The processes of a world that was started with `--processes`: what has ended stays down until it is told to start. */
export class StartedProcesses {
  readonly #world: StartedWorld;

  constructor(world: StartedWorld) {
    this.#world = world;
  }

  /** run.json as it is now: pids change when a process is started again. */
  get running(): WorldAddresses["processes"] {
    const { stateDir } = this.#world.addresses;
    return (JSON.parse(readFileSync(join(stateDir, "run.json"), "utf8")) as WorldAddresses).processes;
  }

  /** null: it is down */
  pidOf(name: string): number | null {
    return this.running.find((p) => p.name === name)?.pid ?? null;
  }

  async killHard(name: string): Promise<void> {
    const pid = this.pidOf(name);
    assert.ok(pid !== null, `${name} runs`);
    // nginx's workers are its group.
    process.kill(name === "nginx" ? -pid : pid, "SIGKILL");
    await eventually(`${name} is down`, async () => this.pidOf(name) === null);
  }

  /** Asks for whatever is down to be started, and waits for none of it. */
  startWhatIsDown(): void {
    process.kill(this.#world.addresses.pid, "SIGUSR2");
  }

  async startAgain(...names: string[]): Promise<void> {
    this.startWhatIsDown();
    for (const name of names) await eventually(`${name} runs again`, async () => this.pidOf(name) !== null);
  }
}
