import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { slicesTable } from "@sluice/contracts";
import { createKit } from "@sluice/service-kit";
import type { FollowSink } from "./store.ts";
import type { ContractServer } from "./table-contract.ts";

/** A server whose connections a test can break while it lives on. */
export interface CuttableServer extends ContractServer {
  /** Breaks every connection, with what is on its way; clients come back by themselves. */
  cut(): Promise<void>;
}

async function until(what: string, condition: () => boolean): Promise<void> {
  for (let tries = 0; tries < 6000; tries++) {
    if (condition()) return;
    await delay(10);
  }
  assert.fail(`never came true: ${what}`);
}

class Recorder implements FollowSink {
  readonly seen: string[] = [];
  restart(): void {
    this.seen.push("restart");
  }
  resumed(): void {
    this.seen.push("resumed");
  }
  entry(entry: { readonly key: string; readonly value: Uint8Array }): void {
    this.seen.push(`${entry.key.split(".").at(-1)}=${Buffer.from(entry.value).toString()}`);
  }
  caughtUp(): void {
    this.seen.push("caught-up");
  }
  disconnected(): void {
    this.seen.push("disconnected");
  }
  count(what: string): number {
    return this.seen.filter((each) => each === what).length;
  }
}

/** How a follower comes back after a break; one suite for the double and for the real server. */
export function resumeContract(name: string, start: () => Promise<CuttableServer>): void {
  async function following(
    body: (server: CuttableServer, seen: Recorder, put: Put) => Promise<void>,
  ): Promise<void> {
    const server = await start();
    const controller = new AbortController();
    const { signal } = controller;
    const kit = createKit({ service: "test", signal });
    const store = server.connect(kit);
    const writer = server.connect(kit);
    const recorder = new Recorder();
    const put: Put = async (key, text) => {
      for (let tries = 0; ; tries++) {
        try {
          await writer.boot(signal);
          await writer.put(slicesTable, `m.a.b.${key}`, Buffer.from(text), null, signal);
          return;
        } catch (error) {
          // A connection that is just being broken gives no answer; the write is the same the second time.
          if (tries === 200) throw error;
          await delay(50);
        }
      }
    };
    const done = store.follow(slicesTable, "m.>", recorder, signal);
    try {
      await until("the snapshot", () => recorder.count("caught-up") === 1);
      await body(server, recorder, put);
    } finally {
      controller.abort();
      await done;
      await Promise.all([store.close(), writer.close()]);
      await server.close();
    }
  }

  test(`${name}: after a break a follower goes on behind what it was told`, { timeout: 240_000 }, () =>
    following(async (server, { seen }, put) => {
      await put("a", "1");
      await put("b", "1");
      await until("both", () => seen.includes("b=1"));
      await server.cut();
      await put("c", "1");
      await put("a", "2");
      await until("the tail", () => seen.includes("a=2"));
      const after = seen.slice(seen.indexOf("disconnected"));
      assert.deepEqual(
        after.filter((each) => each.includes("=")),
        ["c=1", "a=2"],
        "nothing that was told is told again",
      );
      assert.equal(after.filter((each) => each === "restart").length, 0);
      assert.ok(after.includes("resumed"));
      await until("caught up again", () => seen.slice(seen.lastIndexOf("resumed")).includes("caught-up"));
    }),
  );

  test(`${name}: breaks in a row, while keys are written, lose nothing`, { timeout: 240_000 }, () =>
    following(async (server, { seen }, put) => {
      for (let round = 0; round < 5; round++) {
        const writing = (async () => {
          for (let i = 0; i < 40; i++) await put(`k${i}`, `${round}`);
        })();
        await server.cut();
        await writing;
      }
      await put("last", "1");
      await until("the last one", () => seen.includes("last=1"));
      for (let i = 0; i < 40; i++) {
        const told = seen.filter((each) => each.startsWith(`k${i}=`));
        assert.equal(told.at(-1), `k${i}=4`, "the newest value of each key is what was told last");
        assert.equal(new Set(told).size, told.length, "no value of a key is told twice");
      }
      assert.equal(seen.filter((each) => each === "restart").length, 1);
    }),
  );

  test(`${name}: another life of the servers begins with a snapshot`, { timeout: 240_000 }, () =>
    following(async (server, { seen }, put) => {
      await put("a", "1");
      await until("it is there", () => seen.includes("a=1"));
      await server.restart();
      await until("a snapshot", () => seen.filter((each) => each === "restart").length === 2);
      await until("all of it", () => seen.filter((each) => each === "a=1").length === 2);
      assert.ok(!seen.includes("resumed"));
    }),
  );
}

type Put = (key: string, text: string) => Promise<void>;
