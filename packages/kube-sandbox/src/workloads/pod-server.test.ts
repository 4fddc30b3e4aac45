import assert from "node:assert/strict";
import { test } from "node:test";
import { PodServer } from "./pod-server.ts";

const answers = new Map([[0, () => {}]]);

test("a pod that refuses connections keeps its address from other sandboxes' pods, and one that ended does not", async (t) => {
  const address = "127.99.7.1";
  const first = new PodServer(address, answers);
  const second = new PodServer(address, answers);
  t.after(() => Promise.all([first.close(), second.close()]));
  await first.listen();
  await first.setFault("refuse");
  await assert.rejects(second.listen(), { code: "EADDRINUSE" });
  await first.setFault("none");
  await first.close();
  await second.listen();
});
