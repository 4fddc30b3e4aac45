import assert from "node:assert/strict";
import { test } from "node:test";
import { Bursts } from "./bursts.ts";
import { type Clock, systemClock } from "./clock.ts";

/** A clock by which each look takes so long, ms; counts how often somebody rested. */
function clockOf(stepMs: number) {
  const clock = { rests: 0, now: () => 0, time: 0 };
  const monotonic = () => {
    clock.time += stepMs;
    return clock.time;
  };
  const sleep: Clock["sleep"] = async (_ms, signal) => {
    signal.throwIfAborted();
    clock.rests += 1;
  };
  return Object.assign(clock, { monotonic, sleep });
}

async function work(steps: number, clock: Clock, signal: AbortSignal): Promise<number> {
  const bursts = new Bursts(clock, signal);
  for (let done = 1; done <= steps; done++) if (bursts.over() && !(await bursts.rest())) return done;
  return steps;
}

test("ten thousand steps that cost nothing rest every five hundred", async () => {
  const clock = clockOf(0);
  await work(10_000, clock, new AbortController().signal);
  assert.equal(clock.rests, 20);
});

test("steps that take a millisecond each rest every five", async () => {
  const clock = clockOf(1);
  await work(1000, clock, new AbortController().signal);
  assert.equal(clock.rests, 200);
});

test("work is not gone on with once the signal has aborted", async () => {
  const controller = new AbortController();
  controller.abort(new Error("over"));
  assert.equal(await work(10_000, clockOf(0), controller.signal), 500);
});

test("who rests lets others have their turn, and is told when it is over meanwhile", async () => {
  const controller = new AbortController();
  const bursts = new Bursts(systemClock, controller.signal);
  let turns = 0;
  setImmediate(() => {
    turns += 1;
    controller.abort(new Error("over"));
  });
  assert.equal(await bursts.rest(), false);
  assert.equal(turns, 1);
});
