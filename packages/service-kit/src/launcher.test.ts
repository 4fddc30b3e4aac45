import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { test } from "node:test";
import { watchLauncher } from "./launcher.ts";

test("nobody is watched without a number of a process", () => {
  for (const pid of [undefined, "", "x", "0", "1", "-5", "1.5"]) {
    const env = pid === undefined ? {} : { SLUICE_LAUNCHER_PID: pid };
    watchLauncher(env, () => assert.fail("stopped"))[Symbol.dispose]();
  }
});

test("a launcher that has gone is said once, and one that lives is not", async (t) => {
  const child = spawn(process.execPath, ["-e", ""], { stdio: "ignore" });
  await once(child, "exit");
  const stop = t.mock.fn();
  t.mock.timers.enable({ apis: ["setInterval"] });
  const watched = watchLauncher({ SLUICE_LAUNCHER_PID: String(child.pid) }, stop);
  const alive = watchLauncher({ SLUICE_LAUNCHER_PID: String(process.pid) }, () => assert.fail("it lives"));
  t.mock.timers.tick(5000);
  watched[Symbol.dispose]();
  alive[Symbol.dispose]();
  assert.equal(stop.mock.callCount(), 1);
  assert.match(String(stop.mock.calls[0]?.arguments[0]), new RegExp(`pid ${child.pid}`));
});
