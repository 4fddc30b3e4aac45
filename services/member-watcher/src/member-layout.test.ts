import assert from "node:assert/strict";
import { test } from "node:test";
import { MemoryServer, memoryBus, type Store } from "@sluice/bus/testing";
import { sliceKeys, slicesTable } from "@sluice/contracts";
import { connectCluster } from "@sluice/kube";
import { createKit } from "@sluice/service-kit";
import { MemberLayout } from "./member-layout.ts";
import { runMemberWatcher } from "./member-watcher.ts";

const limit = AbortSignal.timeout(60_000);

async function until(what: string, holds: () => boolean): Promise<void> {
  while (!holds()) {
    if (limit.aborted) throw new Error(`still waiting for: ${what}`);
    await new Promise<void>((resolve) => setTimeout(resolve, 1));
  }
}

/** A bus in memory that tells what is followed. */
class FollowedServer extends MemoryServer {
  /** `table filter`, once for each that follows. */
  readonly followed: string[] = [];

  override connect(): Store {
    const store = super.connect();
    const { followed } = this;
    return new Proxy(store, {
      get(target, name) {
        if (name === "follow") {
          const follow: Store["follow"] = (spec, filter, ...rest) => {
            followed.push(`${spec.name} ${filter}`);
            return target.follow(spec, filter, ...rest);
          };
          return follow;
        }
        const found: unknown = Reflect.get(target, name, target);
        return typeof found === "function" ? found.bind(target) : found;
      },
    });
  }
}

test("a member's layout is followed once, by its rank and by its shards", async () => {
  const server = new FollowedServer();
  const stopping = new AbortController();
  const kit = createKit({ service: "member-watcher", signal: stopping.signal });
  const bus = memoryBus({ role: "member-watcher", signal: stopping.signal, server, kit });
  // Nobody answers there: what is held is held all the same.
  const kubeconfig = {
    "current-context": "c",
    contexts: [{ name: "c", context: { cluster: "c" } }],
    clusters: [{ name: "c", cluster: { server: "http://127.0.0.1:1" } }],
  };
  const client = await connectCluster({ name: "member1", kubeconfig });
  const running = runMemberWatcher({ bus, members: [client] }, kit, { shards: new Map([["member1", 3]]) });
  const records = `${slicesTable.name} ${slicesTable.keys.filterOf("member1")}`;
  try {
    await until("shards to be followed", () => server.followed.includes(records));
  } finally {
    stopping.abort(new Error("over"));
    await running;
    client.close();
  }
  const layouts = sliceKeys.layoutKey("member1", 1)?.replace(/1$/, "");
  assert.equal(server.followed.filter((each) => each.startsWith(`${slicesTable.name} ${layouts}`)).length, 1);
});

test("whoever comes later is told at once how the member is cut, and of each new layout until he leaves", async () => {
  const server = new MemoryServer();
  const stopping = new AbortController();
  const { signal } = stopping;
  const bus = () => memoryBus({ role: "member-watcher", signal, server });
  const layout = new MemberLayout(bus(), "member1", 2, signal);
  const told: string[] = [];
  layout.follow((shards) => told.push(`first ${shards}`), signal);
  await until("the layout", () => layout.shards === 2);
  const leaving = new AbortController();
  layout.follow((shards) => told.push(`second ${shards}`), leaving.signal);
  assert.deepEqual(told, ["first 2", "second 2"]);
  leaving.abort(new Error("left"));
  const cutting = new MemberLayout(bus(), "member1", 4, signal);
  await until("the cut", () => layout.shards === 4);
  assert.deepEqual(told, ["first 2", "second 2", "first 4"]);
  stopping.abort(new Error("over"));
  await Promise.all([layout.done, cutting.done]);
});
