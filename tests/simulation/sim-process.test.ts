import assert from "node:assert/strict";
import { test } from "node:test";
import { SimProcess } from "./sim-process.ts";
import { VirtualTime } from "./virtual-time.ts";

test("a process that wakes hears what it missed before what comes in that moment", async () => {
  const time = new VirtualTime();
  const process = new SimProcess("agent-1", "seed", time, 0);
  const heard: string[] = [];
  const say = (at: number, what: string) => time.at(at, () => process.deliver(() => heard.push(what)));
  process.freeze();
  say(1, "first");
  say(2, "second");
  process.after(2, () => heard.push("timer"));
  time.at(5, () => process.thaw());
  say(5, "third");
  say(6, "fourth");
  await time.run(10);
  assert.deepEqual(heard, ["timer", "first", "second", "third", "fourth"]);
});

test("one that freezes again while it wakes keeps the rest for the next time", async () => {
  const time = new VirtualTime();
  const process = new SimProcess("agent-1", "seed", time, 0);
  const heard: string[] = [];
  process.freeze();
  time.at(1, () => process.deliver(() => process.freeze()));
  time.at(2, () => process.deliver(() => heard.push("second")));
  time.at(5, () => process.thaw());
  await time.run(6);
  assert.equal(heard.length, 0);
  time.at(7, () => process.thaw());
  time.at(7, () => process.deliver(() => heard.push("third")));
  await time.run(10);
  assert.deepEqual(heard, ["second", "third"]);
});
