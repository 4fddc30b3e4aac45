import assert from "node:assert/strict";
import { test } from "node:test";
import type { NginxRow } from "./nginx-row.ts";
import { routeRow, testNginx } from "./testing/proxy-world.ts";

test("rows that nginx cannot read, or will not take, are refused by their place, and the others count", async (t) => {
  const nginx = await testNginx(t, { workers: 1 });
  const { instance } = await nginx.client.state(t.signal);
  const upstream: NginxRow = { k: "upstream", id: "web" };
  // Half of a surrogate pair, a backslash that only looks like one, a whole pair.
  const [half, looks, whole] = ["/a\ud83d", "/a\\ud83d", "/a\u{1f600}"].map((path, i) =>
    routeRow(`${i}.example.test`, "web", path),
  );
  const control = routeRow("control.example.test", "web", "/a\n");
  const rows = [half!, upstream, control, looks!, whole!];
  const answer = await nginx.client.apply(rows, instance, t.signal);
  assert.deepEqual(answer, {
    restarted: false,
    refused: [
      { i: 0, why: "it is no Unicode" },
      { i: 2, why: "path 1 holds a control character" },
    ],
  });
  const { keys } = await nginx.client.keys(t.signal);
  const hosts = keys.flatMap((key) => (key.k === "route" ? [key.host] : [])).sort();
  assert.deepEqual(hosts, ["1.example.test", "2.example.test"]);
});
