// Who may come in by address and by password, on a real nginx.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import { setTimeout } from "node:timers/promises";
import type { Access } from "@sluice/contracts";
import { type GuardedWorld, guardedWorld, HOST } from "./testing/guarded-world.ts";
import type { GetOptions, TestAnswer } from "./testing/proxy-world.ts";
import { sendRaw } from "./testing/raw-peer.ts";

const basic = (user: string, password: string): GetOptions => ({
  headers: { authorization: `Basic ${Buffer.from(`${user}:${password}`).toString("base64")}` },
});

async function access(world: GuardedWorld, given: Access): Promise<void> {
  await world.show({ "/": { access: given } });
}

/** The client of these tests is 127.0.0.1. */
const ME = "127.0.0.1/32";
const OTHERS = "192.0.2.0/24";
const SECRET = "shop-users-users";
const users = { secret: SECRET, realm: "Authentication Required" };

test("addresses: who is denied gets 403, allowed or not; who is not allowed, too; denied alone shuts out nobody else", async (t) => {
  const world = await guardedWorld(t, 70);
  const status = async (given: Access) => {
    await access(world, given);
    const before = world.pod.requests;
    const answer = await world.nginx.get("/");
    assert.equal(world.pod.requests - before, answer.status === 200 ? 1 : 0);
    return [answer.status, answer.headers["x-sluice-reason"]];
  };
  const open = [200, undefined];
  const shut = [403, "forbidden"];
  assert.deepEqual(await status({ allow: [ME] }), open);
  assert.deepEqual(await status({ allow: [OTHERS, "2001:db8::/32"] }), shut);
  assert.deepEqual(await status({ allow: [OTHERS, "127.0.0.0/8"] }), open);
  assert.deepEqual(await status({ deny: [ME] }), shut);
  assert.deepEqual(await status({ deny: [OTHERS] }), open);
  assert.deepEqual(await status({ allow: [ME], deny: ["0.0.0.0/0"] }), shut);
  assert.deepEqual(await status({ allow: [ME], deny: ["::/0"] }), open);
  assert.deepEqual(await status({}), open);
});

const SHA = `{SHA}${createHash("sha1").update("open sesame").digest("base64")}`;
const salted = createHash("sha1").update("open sesame").update("salt").digest();
/** All of the password `open sesame`; the latter ones made by openssl passwd and crypt(3). */
const HASHES: Readonly<Record<string, string>> = {
  plain: "{PLAIN}open sesame",
  sha: SHA,
  ssha: `{SSHA}${Buffer.concat([salted, Buffer.from("salt")]).toString("base64")}`,
  apr1: "$apr1$abcdefgh$T64oOxnD8c28.dQa.2Lty1",
  md5: "$1$abcdefgh$9qMkHazuSy1Q8myEum7yb/",
  sha256: "$5$abcdefgh$FWXdh6oXOJQkX7oAcP02d0Gnxjct6ra8Fwv29U9RIN2",
  sha512:
    "$6$abcdefgh$CkjGkP7IIgZVUCNlt.Vi53LOYJLXZ5KzdpzEYCj01XGruA1hxZYJqccTU2zz68oJwAGsd1iPty5F7dHIatUTy/",
  des: "ab/G8gtZdMwak",
  bcrypt: "$2y$05$abcdefghijklmnopqrstuupx2xBUC4954936wVIjyyPHmUBFu0wCW",
  yescrypt: "$y$j9T$abcdefgh$c8R4fgRyxL8Q39.DpK0QFFQ5IBjxy7PYBstUKeRFh3/",
};

/** A wrong password is refused at once while others have kept the worker busy: asked again, as a client would. */
async function letIn(world: GuardedWorld, user: string, password: string): Promise<boolean> {
  for (;;) {
    const answer = await world.nginx.get("/", basic(user, password));
    if (answer.headers["x-sluice-reason"] === "passwords-busy") {
      await setTimeout(100);
      continue;
    }
    assert.ok(answer.status === 200 || answer.status === 401, `${user}: ${answer.status}`);
    return answer.status === 200;
  }
}

test("a password lets in, whatever made its hash, and peers do not get it", {
  timeout: 120_000,
}, async (t) => {
  const world = await guardedWorld(t, 71);
  await world.users(SECRET, HASHES);
  await access(world, { users });
  const nobody = await world.nginx.get("/");
  assert.equal(nobody.status, 401);
  assert.equal(nobody.headers["www-authenticate"], 'Basic realm="Authentication Required"');
  for (const user of Object.keys(HASHES)) {
    assert.ok(await letIn(world, user, "open sesame"), user);
    assert.equal(world.pod.last.headers.authorization, undefined);
    // DES looks at eight letters alone.
    assert.ok(!(await letIn(world, user, "Open sesame")), user);
    assert.ok(!(await letIn(world, user, "")), user);
  }
  assert.ok(!(await letIn(world, "nobody", "open sesame")));
  assert.ok(!(await letIn(world, "", "")));
  for (const authorization of ["Basic", "Basic !!", "Basic cGxhaW4=", "Bearer x", "Digest username=plain"]) {
    assert.equal((await world.nginx.get("/", { headers: { authorization } })).status, 401, authorization);
  }
  // With another password the one before it lets nobody in, however often it did.
  await world.users(SECRET, { plain: "{PLAIN}another" });
  assert.ok(!(await letIn(world, "plain", "open sesame")));
  assert.ok(await letIn(world, "plain", "another"));
  // A Secret that is gone, and one that never was, let nobody in.
  await world.users(SECRET, null);
  assert.equal((await world.nginx.get("/", basic("plain", "another"))).status, 503);
});

test("a hash that would keep a worker busy lets nobody in, and is not tried", {
  timeout: 120_000,
}, async (t) => {
  const world = await guardedWorld(t, 72);
  const dear = {
    bcrypt: "$2y$31$abcdefghijklmnopqrstuupx2xBUC4954936wVIjyyPHmUBFu0wCW",
    rounds: "$6$rounds=999999999$abcdefgh$x",
    yescrypt: "$y$jFT$abcdefgh$c8R4fgRyxL8Q39.DpK0QFFQ5IBjxy7PYBstUKeRFh3/",
    scrypt: "$7$CU..../....abcdefgh$x",
    unknown: "!",
  };
  await world.users(SECRET, dear);
  await access(world, { users });
  // Each of the first three would take longer than the test may.
  for (const user of Object.keys(dear)) assert.ok(!(await letIn(world, user, "open sesame")), user);
});

test("guessing passwords takes a part of a worker's time alone, and who is known comes in meanwhile", {
  timeout: 120_000,
}, async (t) => {
  const world = await guardedWorld(t, 73);
  await world.users(SECRET, { bcrypt: HASHES["bcrypt"] ?? "" });
  await access(world, { users });
  assert.ok(await letIn(world, "bcrypt", "open sesame"));
  let refused: TestAnswer | undefined;
  for (let guess = 0; refused === undefined; guess++) {
    const batch = Array.from({ length: 20 }, (_, i) =>
      world.nginx.get("/", basic("bcrypt", `${guess}.${i}`)),
    );
    refused = (await Promise.all(batch)).find(({ status }) => status === 503);
  }
  assert.equal(refused.headers["x-sluice-reason"], "passwords-busy");
  assert.equal(refused.headers["retry-after"], "1");
  assert.equal((await world.nginx.get("/", basic("bcrypt", "open sesame"))).status, 200);
});

test("address and password: both are needed, or with satisfy any one of them", {
  timeout: 120_000,
}, async (t) => {
  const world = await guardedWorld(t, 74);
  await world.users(SECRET, { plain: "{PLAIN}x" });
  const both = async (given: Access) => {
    await access(world, { ...given, users });
    const without = await world.nginx.get("/");
    const withIt = await world.nginx.get("/", basic("plain", "x"));
    return [without.status, without.headers["www-authenticate"] !== undefined, withIt.status];
  };
  assert.deepEqual(await both({ allow: [ME] }), [401, true, 200]);
  assert.deepEqual(await both({ allow: [OTHERS] }), [403, false, 403]);
  assert.deepEqual(await both({ allow: [ME], any: true }), [200, false, 200]);
  assert.deepEqual(await both({ allow: [OTHERS], any: true }), [401, true, 200]);
  assert.deepEqual(await both({ deny: [ME], any: true }), [401, true, 200]);
  assert.deepEqual(await both({ deny: [OTHERS], any: true }), [401, true, 200]);
});

test("in any worker, on any kept connection and with any method, a path that asks is asked for", {
  timeout: 120_000,
}, async (t) => {
  const world = await guardedWorld(t, 75, 2);
  await world.show({ "/": {}, "/shut": { access: { deny: [ME] } } });
  for (const path of ["/shut", "/shut/", "/./shut", "/x/../shut", "/shut/x?y=1", "//shut", "/%73hut"]) {
    for (const method of ["GET", "POST", "OPTIONS", "HEAD"]) {
      const { status } = await world.nginx.get(path, { method, fresh: true });
      assert.equal(status, 403, `${method} ${path}`);
    }
  }
  assert.equal((await world.nginx.get("/shutter")).status, 200);
  const pipelined = await sendRaw(
    world.nginx.options.httpAddress,
    `GET / HTTP/1.1\r\nHost: ${HOST}\r\n\r\nGET /shut HTTP/1.1\r\nHost: ${HOST}\r\nConnection: close\r\n\r\n`,
    t.signal,
  );
  assert.deepEqual(pipelined.match(/HTTP\/1\.1 \d+/g), ["HTTP/1.1 200", "HTTP/1.1 403"]);
});
