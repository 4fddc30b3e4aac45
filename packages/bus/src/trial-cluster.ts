import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { type JetStreamManager, jetstreamManager } from "@nats-io/jetstream";
import { connect, type NatsConnection } from "@nats-io/transport-node";
import { busUserName } from "@sluice/contracts";
import { ensureTool, type NatsCluster, type NatsNode, startNatsCluster } from "@sluice/native-tools";
import type { Kit } from "@sluice/service-kit";
import { readCredentials } from "./credentials.ts";
import { writeCredentials } from "./nats-auth.ts";
import { NatsStore } from "./nats-store.ts";

const ELECTION_MS = 120_000;

/** Room on a cluster that nobody else sees: an account of its own, so that each case begins with an empty bus. */
export interface Room {
  readonly cluster: NatsCluster;
  connect(kit: Kit, options?: { readonly replicas?: number }): NatsStore;
  admin(): Promise<{ readonly connection: NatsConnection; readonly jsm: JetStreamManager }>;
  /** Removes its streams: each costs three servers their heartbeats. */
  close(): Promise<void>;
}

export interface TrialCluster extends AsyncDisposable {
  readonly cluster: NatsCluster;
  room(): Room;
}

/** Three nats-servers for a file of tests, with as many rooms as it has cases. */
export async function startTrialCluster(rooms: number): Promise<TrialCluster> {
  const signal = new AbortController().signal;
  const tool = await ensureTool("nats-server-cluster", {
    signal,
    log: (message) => process.stderr.write(`${message}\n`),
  });
  const dir = await mkdtemp(join(tmpdir(), "sluice-cluster-"));
  const users = await writeCredentials(
    join(dir, "auth"),
    Array.from({ length: rooms }, (_, i) => ({ component: "operator" as const, members: [`room${i}`] })),
  );
  const accounts = users.map(
    ({ publicKey }, i) => `R${i}: { jetstream: enabled, users: [{ nkey: ${publicKey} }] }`,
  );
  const configuration = `accounts: {\n${accounts.join("\n")}\n}\n`;
  const cluster = await startNatsCluster({ tool, dir, configuration, signal });
  let next = 0;
  return {
    cluster,
    room() {
      const name = busUserName({ component: "operator", members: [`room${next++}`] });
      const user = users.find((each) => each.name === name);
      if (user === undefined) throw new Error(`there are ${rooms} rooms`);
      const files = { nkey: user.file, ca: cluster.certificates.ca };
      const admin = async () => {
        const { options } = await readCredentials(files);
        const connection = await connect({ servers: cluster.url.split(","), ...options });
        // While the servers elect who answers for JetStream nobody does.
        const deadline = performance.now() + ELECTION_MS;
        for (;;) {
          try {
            return { connection, jsm: await jetstreamManager(connection) };
          } catch (error) {
            if (performance.now() > deadline) throw error;
            await delay(100);
          }
        }
      };
      return {
        cluster,
        admin,
        connect: (kit, { replicas = 3 } = {}) =>
          new NatsStore({ url: cluster.url, name: "trial", files, replicas, kit }),
        async close() {
          const { connection, jsm } = await admin();
          const names: string[] = [];
          for await (const { config } of jsm.streams.list()) names.push(config.name);
          // The list may name one that another server has removed already.
          await Promise.allSettled(names.map((stream) => jsm.streams.delete(stream)));
          await connection.close();
        },
      };
    },
    async [Symbol.asyncDispose]() {
      await cluster.close();
      await rm(dir, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 });
    },
  };
}

/** Every node in turn. */
export async function eachNode(cluster: NatsCluster, act: (node: NatsNode) => Promise<void>): Promise<void> {
  await Promise.all(cluster.nodes.map(act));
}
