import assert from "node:assert/strict";
import { test } from "node:test";
import { BusServerError } from "@sluice/contracts";
import { checkServer, type ServerInfo, type ServerNeeds } from "./server-check.ts";

const one: ServerNeeds = { replicas: 1, tls: false };
const info: ServerInfo = { version: "2.12.3", jetstream: true };

test("Debian's server will do for one replica, and a newer one for three", () => {
  checkServer({ ...info, version: "2.9.10" }, one);
  for (const version of ["2.9.21", "2.12.0-RC.1", "3.0.0"]) {
    checkServer({ ...info, version, cluster: "bus" }, { ...one, replicas: 3 });
  }
});

const refused: readonly (readonly [string, ServerInfo, ServerNeeds, RegExp])[] = [
  [
    "an old server",
    { ...info, version: "2.8.4" },
    one,
    /2\.8\.4 lacks consumers .*; .*: use 2\.9\.10 or later$/,
  ],
  ["one that loses tables", { ...info, version: "2.9.9" }, one, /2\.9\.9 lacks tables that survive/],
  [
    "three replicas where compare-and-set is broken",
    { ...info, version: "2.9.20" },
    { ...one, replicas: 3 },
    /2\.9\.20 lacks compare-and-set on replicated streams.*use 2\.9\.21 or later, or --nats-replicas 1/,
  ],
  ["a server without JetStream", { version: "2.12.3" }, one, /without JetStream: start it with -js/],
  [
    "one server where three copies are asked for",
    info,
    { ...one, replicas: 3 },
    /3 copies of each table are asked for, and nats-server 2\.12\.3 is in no cluster: give --nats-replicas 1/,
  ],
  ["plain text where TLS is asked for", info, { ...one, tls: true }, /does not offer TLS/],
];
for (const [what, server, needs, message] of refused) {
  test(`${what} is refused with the reason`, () => {
    assert.throws(
      () => checkServer(server, needs),
      (error: unknown) => {
        assert.ok(error instanceof BusServerError);
        assert.match(error.message, message);
        return true;
      },
    );
  });
}
