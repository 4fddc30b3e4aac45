import assert from "node:assert/strict";
import { test } from "node:test";
import { memoryBus } from "@sluice/bus/testing";
import { type Part, sliceKeys, slicesTable } from "@sluice/contracts";
import type { KubeClient, ResourceType } from "@sluice/kube";
import { runMemberWatcher } from "@sluice/member-watcher";
import { createKit } from "@sluice/service-kit";
import { eventually } from "./clusters.ts";
import { Stage } from "./stage.ts";

/** The client, and how often it was asked for a list of each kind. */
function counting(client: KubeClient): { readonly client: KubeClient; readonly lists: Map<string, number> } {
  const lists = new Map<string, number>();
  const counted = new Proxy(client, {
    get(target, name) {
      const value = Reflect.get(target, name) as unknown;
      if (typeof value !== "function") return value;
      if (name !== "list" && name !== "pages") return value.bind(target);
      return (type: ResourceType, ...rest: unknown[]) => {
        lists.set(type.kind, (lists.get(type.kind) ?? 0) + 1);
        return Reflect.apply(value, target, [type, ...rest]);
      };
    },
  });
  return { client: counted, lists };
}

/** Newest revisions of the keys of a table that are no claims and no `synced`. */
function records(stage: Stage, table: string): Map<string, number> {
  return new Map(
    stage.server.keys(table).flatMap((key): [string, number][] => {
      const found = stage.server.get(table, key);
      return key.includes("_meta.") || found === null ? [] : [[key, found.revision]];
    }),
  );
}

const part: Part = { scope: "member1", shard: "0" };
/** What a watcher lists before it can write. */
const KINDS = ["ServiceExport", "Service", "EndpointSlice", "Node"];

interface Watcher extends AsyncDisposable {
  readonly bus: ReturnType<typeof memoryBus>;
  /** How often it has asked for a list, by kind. */
  readonly lists: ReadonlyMap<string, number>;
  stop(): Promise<void>;
}

function startWatcher(stage: Stage): Watcher {
  const end = new AbortController();
  const bus = memoryBus({ role: "member-watcher", signal: end.signal, server: stage.server });
  const { client, lists } = counting(stage.client("member1"));
  const kit = createKit({ service: "member-watcher", signal: bus.signal });
  const done = runMemberWatcher({ bus, members: [client] }, kit);
  const stop = async () => {
    end.abort(new Error("SIGTERM"));
    await done;
  };
  return { bus, lists, stop, [Symbol.asyncDispose]: stop };
}

test("an heir lists nothing anew and writes nothing but its claim and synced where the table is right", async () => {
  await using stage = await Stage.start(["member1"]);
  await stage.exportCart("member1");
  await using one = startWatcher(stage);
  await using other = startWatcher(stage);
  const watchers = [one, other];
  const ranks = () => watchers.map(({ bus }) => bus.rankOf(slicesTable, part));
  await eventually("ranks", async () => ranks().sort().join() === "0,1");
  await eventually("settled", async () => stage.slices.isSettled(part) && stage.slices.size === 2);
  const first = ranks().indexOf(0);
  const heir = watchers[1 - first];
  // One change by a watch event, so that what was acted upon is more than a list.
  await stage.endpoints("member1", ["10.1.0.9"]);
  await eventually("the change", async () =>
    JSON.stringify([...stage.slices.entries()]).includes("10.1.0.9"),
  );
  assert.ok(heir);
  await eventually("the heir has listed", async () => KINDS.every((kind) => heir.lists.has(kind)));
  const before = records(stage, "slices");
  const listed = [...heir.lists];
  const claims = stage.server.keys("slices").length;
  await watchers[first]?.stop();
  await eventually("the heir has synced", async () => {
    const newest = stage.server.keys("slices").length > claims;
    return newest && stage.slices.isSettled(part) && heir.bus.rankOf(slicesTable, part) === 0;
  });
  assert.deepEqual(records(stage, "slices"), before);
  assert.deepEqual([...heir.lists], listed);
  // It does hold: the next change is its own.
  await stage.endpoints("member1", ["10.1.0.10"]);
  await eventually("the next change", async () =>
    JSON.stringify([...stage.slices.entries()]).includes("10.1.0.10"),
  );
});

test("where the records do not say what was acted upon, an heir lists anew", async () => {
  await using stage = await Stage.start(["member1"]);
  await stage.exportCart("member1");
  const first = startWatcher(stage);
  await eventually("settled", async () => stage.slices.isSettled(part) && stage.slices.size === 2);
  await first.stop();
  const key = sliceKeys.export("member1", "shop", "cart");
  const text = Buffer.from(stage.server.get("slices", key)?.value ?? []).toString();
  const { source, ...silent } = JSON.parse(text) as Record<string, unknown>;
  assert.ok(source !== undefined);
  stage.server.put("slices", key, Buffer.from(JSON.stringify(silent)), null);
  await using heir = startWatcher(stage);
  const idAt = (at: string) => {
    const found = stage.server.get("slices", at);
    return found === null ? undefined : (JSON.parse(Buffer.from(found.value).toString()).id as string);
  };
  await eventually("the heir has synced", async () => {
    const claim = idAt(sliceKeys.claimKey(part, 2));
    return claim !== undefined && idAt(sliceKeys.syncedKey(part)) === claim;
  });
  // Nodes say nothing of what was acted upon.
  for (const kind of KINDS.filter((each) => each !== "Node")) {
    assert.ok((heir.lists.get(kind) ?? 0) >= 2, `${kind} was listed ${heir.lists.get(kind) ?? 0} times`);
  }
});

test("two aggregators share the partitions; when one goes, the other's rows are right without a write", async () => {
  await using stage = await Stage.start(["member1"]);
  await stage.exportCart("member1");
  stage.watcher("member1");
  const stops = [stage.aggregator(), stage.aggregator()];
  await stage.hasPeers("member1", ["10.1.0.1"]);
  const synced = () => stage.topology.isScopeSettled("");
  await eventually("all partitions are settled", async () => synced());
  const holders = () => {
    const newest = new Map<string, string>();
    for (const key of stage.server.keys("topology")) {
      const [, shard = ""] = /^_meta\.claim\.([0-9]+)\.[0-9]+$/.exec(key) ?? [];
      if (shard === "") continue;
      const claim = JSON.parse(Buffer.from(stage.server.get("topology", key)?.value ?? []).toString());
      newest.set(shard, claim.holder);
    }
    return new Set(newest.values());
  };
  await eventually("both hold some", async () => holders().size === 2 && synced());
  const before = records(stage, "topology");
  await stops[0]?.();
  await eventually("one holds all", async () => holders().size === 1 && synced());
  assert.deepEqual(records(stage, "topology"), before);
  assert.deepEqual(
    stage.told.filter((each) => each.endsWith("gone")),
    [],
  );
  await stage.endpoints("member1", ["10.1.0.2"]);
  await stage.hasPeers("member1", ["10.1.0.2"]);
});
