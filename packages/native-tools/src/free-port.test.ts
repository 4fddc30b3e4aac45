import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:net";
import { test } from "node:test";
import { freePort } from "./free-port.ts";

test("a free port is none that connections going out may take meanwhile, and none is given twice", async () => {
  const ports = await Promise.all(Array.from({ length: 50 }, () => freePort()));
  assert.equal(new Set(ports).size, ports.length);
  for (const port of ports) assert.ok(port > 1024 && port < 32_768, String(port));
  const server = createServer().listen(ports[0], "127.0.0.1");
  await once(server, "listening");
  server.close();
  await once(server, "close");
});

test("an address that cannot be listened on is an error, not a search", async () => {
  await assert.rejects(freePort("192.0.2.1"), { code: "EADDRNOTAVAIL" });
});
