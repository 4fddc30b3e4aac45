import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ensureTool, type NatsServer, startNatsServer } from "@sluice/native-tools";
import { createKit } from "@sluice/service-kit";
import { users } from "./expected-permissions.ts";
import { authorizationBlock, type WrittenUser, writeCredentials } from "./nats-auth.ts";
import { NatsStore } from "./nats-store.ts";

/** Servers that let in whom they know, and let each do what is his; a credential of each user. */
export interface Guarded extends AsyncDisposable {
  /** A folder of the test's own. */
  readonly root: string;
  readonly written: readonly WrittenUser[];
  userNamed(name: string): WrittenUser;
  /** @param configuration default: every user has exactly his permissions */
  startServer(configuration?: string): Promise<NatsServer>;
}

export async function prepareGuarded(): Promise<Guarded> {
  const { signal } = new AbortController();
  const tool = await ensureTool("nats-server", { signal });
  const root = await mkdtemp(join(tmpdir(), "sluice-permissions-"));
  const written = await writeCredentials(join(root, "auth"), users);
  return {
    root,
    written,
    userNamed: (name) => written.find((each) => each.name === name) ?? assert.fail(`there is no ${name}`),
    startServer: async (configuration = authorizationBlock(written)) =>
      startNatsServer({ tool, storeDir: await mkdtemp(join(root, "nats-")), configuration, signal }),
    [Symbol.asyncDispose]: () => rm(root, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 }),
  };
}

/** A store as a component connects. */
export function storeOf(server: NatsServer, user: WrittenUser, stop: AbortController): NatsStore {
  const kit = createKit({ service: user.name, signal: stop.signal });
  return new NatsStore({ url: server.url, name: user.user.component, files: { nkey: user.file }, kit });
}
