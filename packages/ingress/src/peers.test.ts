import assert from "node:assert/strict";
import { test } from "node:test";
import { buildPeers } from "./peers.ts";

const upstream = { id: "shop-web-x", namespace: "shop", service: "web", balance: "round_robin" } as const;
const web = [{ address: "10.0.0.1", port: 8080 }];
const record = { namespace: "shop", service: "web", cluster: "member1", ports: { web } };

test("a port has the peers of the port that is called so, and none where no port is", () => {
  const peers = (port: string, of = record) => buildPeers({ ...upstream, port }, of, {}).peers;
  assert.deepEqual(peers("web"), web);
  // What every object has is no port of a cluster.
  for (const port of ["", "other", "constructor", "toString", "__proto__"])
    assert.deepEqual(peers(port), [], port);
  const ports = { constructor: web } as unknown as typeof record.ports;
  assert.deepEqual(peers("constructor", { ...record, ports }), web);
});
