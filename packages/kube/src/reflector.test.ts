import assert from "node:assert/strict";
import type { IncomingMessage, ServerResponse } from "node:http";
import { describe, test } from "node:test";
import { type Clock, systemClock } from "@sluice/service-kit";
import { connectCluster, type KubeClient } from "./client.ts";
import type { KubeLogger } from "./logger.ts";
import type { Service } from "./objects.ts";
import { type Change, type Reflector, type ReflectorTiming, reflect } from "./reflector.ts";
import { resources } from "./resources.ts";
import { type ScriptedApi, sendJson, sendStatus, startScriptedApi } from "./testing.ts";

const limit = AbortSignal.timeout(240_000);
const quiet: KubeLogger = { debug() {}, info() {}, warn() {}, child: () => quiet };
const quick: Partial<ReflectorTiming> = { failure: [5, 20], startup: [5, 20], missing: [5, 20] };

function service(name: string, resourceVersion: string, uid = name): Service {
  return {
    apiVersion: "v1",
    kind: "Service",
    metadata: { name, namespace: "shop", uid, resourceVersion },
  };
}

/** An API of one kind, whose list is `items` and whose watches stay open in `watches`. */
class OneKind {
  items: Service[] = [];
  version = 10;
  served = true;
  pageSize = 100;
  watches: ServerResponse[] = [];
  readonly watched: URLSearchParams[] = [];
  /** Answers instead, once. */
  next: ((request: IncomingMessage, response: ServerResponse) => void)[] = [];
  lists = 0;
  /** Gets every page but the first instead of the client. */
  hold: ((send: () => void) => void) | null = null;
  readonly #held: ServerResponse[] = [];

  readonly answer = (request: IncomingMessage, response: ServerResponse): void => {
    const scripted = this.next.shift();
    if (scripted !== undefined) return scripted(request, response);
    const url = new URL(request.url ?? "", "http://api");
    if (!this.served) return sendStatus(response, 404, "NotFound", "no such kind");
    if (url.searchParams.get("watch") === "true") {
      this.watched.push(url.searchParams);
      response.writeHead(200, { "content-type": "application/json" }).flushHeaders();
      this.watches.push(response);
      response.once("close", () => {
        this.watches = this.watches.filter((watch) => watch !== response);
      });
      return;
    }
    const from = Number(url.searchParams.get("continue") ?? 0);
    if (from === 0) this.lists += 1;
    const more = from + this.pageSize < this.items.length;
    const page = {
      metadata: {
        resourceVersion: String(this.version),
        ...(more ? { continue: String(from + this.pageSize) } : {}),
      },
      items: this.items.slice(from, from + this.pageSize),
    };
    const send = () => sendJson(response, 200, page);
    if (from > 0 && this.hold !== null) {
      this.#held.push(response);
      this.hold(send);
    } else send();
  };

  /** Breaks off every page that was held back. */
  cut(): void {
    for (const response of this.#held.splice(0)) response.destroy();
  }

  send(type: string, object: object): void {
    for (const watch of this.watches) watch.write(`${JSON.stringify({ type, object })}\n`);
  }
}

interface Harness {
  readonly kind: OneKind;
  readonly api: ScriptedApi;
  readonly client: KubeClient;
  readonly reflector: Reflector<Service>;
  readonly changes: Change<Service>[];
  readonly states: string[];
  until(what: string, holds: () => boolean): Promise<void>;
}

/** Runs `body` with a reflector of Services, and sees that it ends. */
async function withReflector(
  body: (harness: Harness) => Promise<void>,
  prepare: (kind: OneKind, api: ScriptedApi) => Promise<void> | void = () => {},
  timing: Partial<ReflectorTiming> = {},
): Promise<void> {
  const kind = new OneKind();
  await using api = await startScriptedApi(kind.answer);
  await prepare(kind, api);
  const client = await connectCluster({ name: "member1", kubeconfig: api.kubeconfig });
  const stopping = new AbortController();
  const changes: Change<Service>[] = [];
  const states: string[] = [];
  const reflector = reflect({
    client,
    type: resources.service,
    kit: { log: quiet, clock: systemClock, signal: stopping.signal },
    timing: { ...quick, ...timing },
    onChange: (change) => changes.push(change),
    onState: (state) => states.push(state.kind),
  });
  const until = async (what: string, holds: () => boolean): Promise<void> => {
    while (!holds()) {
      if (limit.aborted) throw new Error(`still waiting for: ${what}`);
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
  };
  try {
    await body({ kind, api, client, reflector, changes, states, until });
  } finally {
    stopping.abort(new Error("over"));
    await reflector.done;
    client.close();
  }
}

const told = (changes: readonly Change<Service>[]) =>
  changes.map((c) => `${c.kind} ${c.key}${c.fromList ? " (list)" : ""}`);

describe("a reflector", () => {
  test("joins the pages of a list, then follows the watch from there", () =>
    withReflector(
      async ({ kind, reflector, changes, until }) => {
        await reflector.listed(limit);
        assert.deepEqual([...reflector.objects.keys()], ["shop/a", "shop/b", "shop/c"]);
        assert.equal(reflector.objects.get("shop/a")?.kind, "Service");
        await until("a watch", () => kind.watches.length === 1);
        assert.equal(kind.watched[0]?.get("resourceVersion"), "10");
        assert.equal(kind.watched[0]?.get("allowWatchBookmarks"), "true");
        const seconds = Number(kind.watched[0]?.get("timeoutSeconds"));
        assert.ok(seconds >= 300 && seconds <= 600);
        kind.send("MODIFIED", service("a", "11"));
        kind.send("DELETED", service("b", "12"));
        await until("two events", () => changes.length === 5);
        assert.deepEqual(told(changes).slice(3), ["upsert shop/a", "delete shop/b"]);
        assert.deepEqual([...reflector.objects.keys()], ["shop/a", "shop/c"]);
      },
      (kind) => {
        kind.pageSize = 2;
        kind.items = ["a", "b", "c"].map((name) => service(name, "1"));
      },
    ));

  test("says what it has acted upon: the newest of the objects and events that it told of, not of the list", () =>
    withReflector(
      async ({ kind, reflector, changes, until }) => {
        assert.equal(reflector.actedOn, -1);
        await reflector.listed(limit);
        assert.equal(reflector.actedOn, 4, "the list's own version is 10");
        await until("a watch", () => kind.watches.length === 1);
        kind.send("MODIFIED", service("a", "12"));
        await until("an event", () => changes.length === 3);
        assert.equal(reflector.actedOn, 12);
        kind.items = [service("a", "12")];
        kind.version = 20;
        await reflector.relist(limit);
        assert.equal(reflector.actedOn, 20, "b went at some moment before that list");
      },
      (kind) => {
        kind.items = [service("a", "3"), service("b", "4")];
      },
    ));

  test("reaches a version by its watch where that brings it", () =>
    withReflector(
      async ({ kind, reflector, until }) => {
        await reflector.listed(limit);
        await until("a watch", () => kind.watches.length === 1);
        const lists = kind.lists;
        await reflector.reach(10, limit);
        const reached = reflector.reach(12, limit);
        kind.send("MODIFIED", service("a", "11"));
        kind.send("MODIFIED", service("a", "12"));
        await reached;
        const bookmarked = reflector.reach(30, limit);
        kind.send("BOOKMARK", service("", "30"));
        await bookmarked;
        assert.equal(kind.lists, lists);
      },
      (kind) => {
        kind.items = [service("a", "1")];
      },
      { reachMs: 240_000 },
    ));

  test("reaches a version by a list where its watch does not bring it", () =>
    withReflector(
      async ({ kind, reflector, until }) => {
        await reflector.listed(limit);
        await until("a watch", () => kind.watches.length === 1);
        const lists = kind.lists;
        kind.version = 40;
        await reflector.reach(40, limit);
        assert.equal(kind.lists, lists + 1);
      },
      (kind) => {
        kind.items = [service("a", "1")];
      },
      { reachMs: 20 },
    ));

  test("compares no versions that are no numbers", () =>
    withReflector(
      async ({ reflector }) => {
        await reflector.listed(limit);
        assert.equal(reflector.actedOn, undefined);
      },
      (kind) => {
        kind.items = [service("a", "v1:2")];
      },
    ));

  test("opens a watch that the server closes anew, at once and from the last bookmark", () =>
    withReflector(async ({ kind, until, reflector }) => {
      await until("a watch", () => kind.watches.length === 1);
      kind.send("BOOKMARK", { metadata: { resourceVersion: "77" } });
      kind.watches[0]?.end();
      await until("another", () => kind.watched.length === 2);
      assert.equal(kind.watched[1]?.get("resourceVersion"), "77");
      assert.equal(kind.lists, 1);
      assert.equal(reflector.state.kind, "watching");
    }));

  test("lists again after 410 as an event or as an answer, and removes what is missing then", () =>
    withReflector(
      async ({ kind, changes, until }) => {
        await until("a watch", () => kind.watches.length === 1);
        kind.items = [service("b", "2"), service("c", "20")];
        kind.send("ERROR", { code: 410, reason: "Expired", message: "too old resource version" });
        await until("the second list", () => kind.watched.length === 2);
        assert.deepEqual(told(changes).slice(2), ["upsert shop/c (list)", "delete shop/a (list)"]);
        kind.items = [service("c", "20")];
        // The first watch has been given up; its server may not have heard of that yet.
        await until("one watch", () => kind.watches.length === 1);
        kind.next.push((_request, response) => sendStatus(response, 410, "Expired"));
        kind.watches[0]?.end();
        await until("the third list", () => kind.lists === 3 && changes.length === 5);
        assert.deepEqual(told(changes).slice(4), ["delete shop/b (list)"]);
      },
      (kind) => {
        kind.items = [service("a", "1"), service("b", "2")];
      },
    ));

  test("waits for a kind that is not served, and keeps what it knows when the kind goes away", () =>
    withReflector(
      async ({ kind, reflector, changes, states, until }) => {
        await until("waiting", () => reflector.state.kind === "waiting-for-resource");
        kind.served = true;
        await reflector.listed(limit);
        await until("a watch", () => kind.watches.length === 1);
        kind.served = false;
        kind.watches[0]?.end();
        await until("waiting again", () => reflector.state.kind === "waiting-for-resource");
        assert.deepEqual([...reflector.objects.keys()], ["shop/a"]);
        kind.served = true;
        kind.items = [];
        await until("the object's end", () => changes.length === 2);
        assert.deepEqual(told(changes), ["upsert shop/a (list)", "delete shop/a (list)"]);
        assert.ok(states.includes("watching"));
      },
      (kind) => {
        kind.served = false;
        kind.items = [service("a", "1")];
      },
    ));

  test("survives a server that is away, and goes on where it was", () =>
    withReflector(
      async ({ kind, api, reflector, changes, until }) => {
        await reflector.listed(limit);
        await until("a watch", () => kind.watches.length === 1);
        await api.refuse();
        await until("failing", () => reflector.state.kind === "failing");
        assert.match(reflector.state.error ?? "", /member1/);
        assert.equal(reflector.objects.size, 1);
        await api.accept();
        await until("watching", () => reflector.state.kind === "watching" && kind.watches.length === 1);
        kind.send("ADDED", service("b", "11"));
        await until("an event", () => changes.length === 2);
        assert.equal(kind.lists, 1);
      },
      (kind) => {
        kind.items = [service("a", "1")];
      },
    ));

  test("deletes nothing when a list breaks off half way", () =>
    withReflector(
      async ({ kind, reflector, changes, until }) => {
        await reflector.listed(limit);
        await until("a watch", () => kind.watches.length === 1);
        kind.items = [service("a", "1"), service("b", "2"), service("d", "30")];
        const broken = (_request: IncomingMessage, response: ServerResponse) => {
          response.writeHead(200, { "content-length": "1000" }).write('{"items":[');
          response.destroy();
        };
        // The first page is well, the second breaks off.
        kind.next.push((request, response) => kind.answer(request, response), broken);
        await reflector.relist(limit);
        assert.deepEqual(told(changes).slice(3), ["upsert shop/d (list)", "delete shop/c (list)"]);
      },
      (kind) => {
        kind.pageSize = 2;
        kind.items = ["a", "b", "c"].map((name, i) => service(name, String(i + 1)));
      },
    ));

  test("relists with a list that began after it was asked to", () =>
    withReflector(async ({ kind, reflector, until }) => {
      await reflector.listed(limit);
      await until("a watch", () => kind.watches.length === 1);
      let release = () => {};
      kind.next.push((_request, response) => {
        release = () => sendJson(response, 200, { metadata: { resourceVersion: "11" }, items: [] });
      });
      const first = reflector.relist(limit);
      const asked = kind.next;
      await until("the list to begin", () => asked.length === 0);
      kind.items = [service("late", "12")];
      const second = reflector.relist(limit);
      release();
      await first;
      await second;
      assert.deepEqual([...reflector.objects.keys()], ["shop/late"]);
    }));

  test("tells of changes at once while a long list is still coming, and the list takes none of them back", () =>
    withReflector(
      async ({ kind, reflector, changes, until }) => {
        await until("a watch", () => kind.watches.length === 1);
        let page = () => {};
        kind.hold = (send) => {
          page = send;
        };
        kind.version = 20;
        const relisted = reflector.relist(limit);
        await until("the watch beside the list", () => kind.watched.at(-1)?.get("resourceVersion") === "20");
        await until("its opening", () => kind.watches.length === 1);
        kind.send("MODIFIED", service("c", "21"));
        kind.send("DELETED", service("b", "22"));
        kind.send("ADDED", service("d", "23"));
        await until("three events before the second page", () => changes.length === 6);
        assert.deepEqual(told(changes).slice(3), ["upsert shop/c", "delete shop/b", "upsert shop/d"]);
        kind.hold = null;
        page();
        await relisted;
        assert.equal(changes.length, 6, "nothing of the list was news");
        assert.equal(reflector.objects.get("shop/c")?.metadata.resourceVersion, "21");
        assert.deepEqual([...reflector.objects.keys()].sort(), ["shop/a", "shop/c", "shop/d"]);
        await until("the watch behind all of it", () => kind.watched.at(-1)?.get("resourceVersion") === "23");
        assert.equal(reflector.actedOn, 23);
      },
      (kind) => {
        kind.pageSize = 2;
        kind.items = ["a", "b", "c"].map((name, i) => service(name, String(i + 1)));
      },
    ));

  test("what was told beside a list that breaks off stays, and the next list makes it whole", () =>
    withReflector(
      async ({ kind, reflector, changes, until }) => {
        await until("a watch", () => kind.watches.length === 1);
        let broken = false;
        kind.hold = () => {
          broken = true;
        };
        kind.version = 20;
        const relisted = reflector.relist(limit);
        await until("the second page asked for", () => broken);
        await until("the watch beside the list", () => kind.watched.at(-1)?.get("resourceVersion") === "20");
        await until("its opening", () => kind.watches.length === 1);
        kind.send("MODIFIED", service("c", "21"));
        await until("the event", () => changes.length === 4);
        kind.hold = (send) => send();
        kind.items = [service("a", "1"), service("c", "21"), service("e", "24")];
        kind.version = 25;
        // A second list, because nobody answers the first.
        const again = reflector.relist(limit);
        for (const watch of kind.watches) watch.destroy();
        kind.cut();
        await relisted;
        await again;
        assert.deepEqual([...reflector.objects.keys()].sort(), ["shop/a", "shop/c", "shop/e"]);
        assert.equal(changes.filter(({ key }) => key === "shop/c").length, 2, "told of once more by nobody");
      },
      (kind) => {
        kind.pageSize = 2;
        kind.items = ["a", "b", "c"].map((name, i) => service(name, String(i + 1)));
      },
    ));

  test("opens a silent watch anew", () =>
    withReflector(
      async ({ kind, until }) => {
        await until("a second watch", () => kind.watched.length >= 2);
        assert.equal(kind.lists, 1);
      },
      () => {},
      { idleMs: 30 },
    ));

  test("asks again with new credentials after 401", () =>
    withReflector(
      async ({ reflector }) => {
        await reflector.listed(limit);
        assert.equal(reflector.state.error, undefined);
      },
      (kind) => {
        kind.next.push((_request, response) => sendStatus(response, 401, "Unauthorized"));
      },
    ));

  test("asks an API that is down again at least every five seconds, however long it has been down", async () => {
    const kind = new OneKind();
    await using api = await startScriptedApi(kind.answer);
    const refuse = (_request: IncomingMessage, response: ServerResponse) =>
      sendStatus(response, 503, "ServiceUnavailable", "starting");
    const list = (_request: IncomingMessage, response: ServerResponse) =>
      sendJson(response, 200, { metadata: { resourceVersion: "10" }, items: [] });
    kind.next = [list, ...Array.from({ length: 40 }, () => refuse)];
    const client = await connectCluster({ name: "member1", kubeconfig: api.kubeconfig });
    const stopping = new AbortController();
    const pauses: number[] = [];
    let now = 0;
    const clock: Clock = {
      now: () => now,
      monotonic: () => now,
      sleep: async (ms, signal) => {
        // Only the bound of a silent watch is longer, and here none goes silent.
        if (ms > 60_000) return systemClock.sleep(ms, signal);
        pauses.push(ms);
        now += ms;
      },
    };
    const reflector = reflect({
      client,
      type: resources.service,
      kit: { log: quiet, clock, random: { next: () => 0.999 }, signal: stopping.signal },
      onChange: () => {},
    });
    try {
      while (kind.watches.length === 0) {
        limit.throwIfAborted();
        await new Promise((resolve) => setTimeout(resolve, 1));
      }
      assert.ok(pauses.length >= 40, `${pauses.length} pauses`);
      assert.ok(Math.max(...pauses) <= 5000, `${Math.max(...pauses)} ms`);
    } finally {
      stopping.abort(new Error("over"));
      await reflector.done;
      client.close();
    }
  });

  test("says of an object that was replaced unseen what was there before", () =>
    withReflector(
      async ({ kind, reflector, changes }) => {
        await reflector.listed(limit);
        kind.items = [service("a", "9", "another")];
        await reflector.relist(limit);
        const change = changes[1];
        assert.equal(change?.kind === "upsert" && change.old?.metadata.uid, "a");
      },
      (kind) => {
        kind.items = [service("a", "1")];
      },
    ));

  test("ends at once in whatever it is doing", () =>
    withReflector(
      async ({ kind, until, api }) => {
        await until("the hanging list", () => api.requests.length === 1);
        assert.equal(kind.lists, 0);
      },
      (kind) => {
        kind.next.push(() => {});
      },
    ));
});
