import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { connect, type NatsConnection, PermissionViolationError } from "@nats-io/transport-node";
import { clustersTable, permissionsOf, subjectOf } from "@sluice/contracts";
import type { NatsServer } from "@sluice/native-tools";
import { readCredentials } from "./credentials.ts";
import { type Attempt, attempts } from "./expected-permissions.ts";
import { type Guarded, prepareGuarded } from "./guarded-server.ts";
import { authorizationBlock, type WrittenUser } from "./nats-auth.ts";

/** What the server refuses of all that a user tries. */
async function refusals(connection: NatsConnection, tried: readonly Attempt[]): Promise<Set<string>> {
  const refused = new Set<string>();
  const listening = (async () => {
    for await (const status of connection.status()) {
      if (status.type !== "error" || !(status.error instanceof PermissionViolationError)) continue;
      const verb = status.error.operation === "publish" ? "publish" : "subscribe";
      refused.add(`${verb} ${status.error.subject}`);
    }
  })();
  for (const [i, { verb, subject }] of tried.entries()) {
    if (verb === "publish") connection.publish(subject, "{}");
    else connection.subscribe(subject, { callback: () => {} });
    if (i % 100 === 99) await connection.flush();
  }
  await connection.flush();
  await connection.close();
  await listening;
  return refused;
}

/** Every attempt whose outcome is not what the rules say, as a sentence each. */
async function trespasses(
  server: NatsServer,
  written: readonly WrittenUser[],
  tried: readonly Attempt[],
): Promise<string[]> {
  const found: string[] = [];
  for (const { name, user, file } of written) {
    const { options } = await readCredentials({ nkey: file });
    const connection = await connect({ servers: server.url, ...options });
    const refused = await refusals(connection, tried);
    for (const { verb, subject, may } of tried) {
      const isRefused = refused.has(`${verb} ${subject}`);
      if (may(user) && isRefused) found.push(`${name} needs to ${verb} ${subject}, and may not`);
      if (!may(user) && !isRefused) found.push(`${name} may ${verb} ${subject}, and must not`);
    }
  }
  return found;
}

let guarded: Guarded;
let tried: Attempt[];
before(async () => {
  guarded = await prepareGuarded();
  tried = attempts(new Map(guarded.written.map(({ name, publicKey }) => [name, publicKey])));
});
after(() => guarded[Symbol.asyncDispose]());

test("each component reaches what it needs and nothing else", { timeout: 240_000 }, async () => {
  await using server = await guarded.startServer();
  assert.ok(tried.length > 400);
  assert.deepEqual(await trespasses(server, guarded.written, tried), []);
});

test("one permission too many is named", { timeout: 240_000 }, async () => {
  const member = guarded.userNamed("member-watcher-member1");
  const [own] = permissionsOf(member.user, member.publicKey).publish.filter((subject) =>
    subject.startsWith("$KV.sluice_clusters"),
  );
  const block = authorizationBlock([member]);
  const wider = block.replace(JSON.stringify(own), JSON.stringify(subjectOf(clustersTable, ">")));
  assert.notEqual(wider, block);
  await using server = await guarded.startServer(wider);
  assert.deepEqual(await trespasses(server, [member], tried), [
    "member-watcher-member1 may publish $KV.sluice_clusters.member2, and must not",
  ]);
});

test("one permission too few is named", { timeout: 240_000 }, async () => {
  const member = guarded.userNamed("member-watcher-member1");
  const block = authorizationBlock([member]);
  const lines = block.split("\n");
  const narrower = lines.filter((line) => !line.includes('"$KV.sluice_clusters.member1"')).join("\n");
  assert.notEqual(narrower, block);
  await using server = await guarded.startServer(narrower);
  assert.deepEqual(await trespasses(server, [member], tried), [
    "member-watcher-member1 needs to publish $KV.sluice_clusters.member1, and may not",
  ]);
});
