import { rmSync } from "node:fs";
import { resolve } from "node:path";
import { authorizationBlock, readUsers, type WrittenUser, writeCredentials } from "@sluice/bus";
import { BusForbiddenError, type BusUser, busComponents, provisions } from "@sluice/contracts";
import type { RunFile } from "./run-file.ts";
import type { UpOptions } from "./up-options.ts";

/** How the services that `up` starts and the bus know each other. */
export interface UpCredentials {
  /** What a nats-server of ours must be told of them. */
  readonly configuration: string;
  /** For tools: what reaches every table. */
  readonly operator: RunFile["natsFiles"];
  /** As a service's arguments. */
  flagsOf(service: string): readonly string[];
}

/** What the credentials depend on. */
export type CredentialOptions = Pick<
  UpOptions,
  "members" | "natsUrl" | "natsAuth" | "natsCa" | "natsCert" | "natsKey" | "natsReplicas"
>;

/**
 * Fresh credentials for a bus of our own: what they could do before ends with them. For another's bus, those that its
 * owner wrote.
 * @throws BusForbiddenError when a service has none in that folder
 */
export async function busCredentials(folder: string, options: CredentialOptions): Promise<UpCredentials> {
  const members = options.members.map(([name]) => name);
  let users: readonly WrittenUser[] = [];
  if (options.natsUrl === "") {
    rmSync(folder, { recursive: true, force: true });
    users = await writeCredentials(folder, usersOf(members));
  } else if (options.natsAuth !== "") users = await readUsers(resolve(options.natsAuth));
  const seed = (name: string) => (users.length === 0 ? null : seedOf(users, name, members, options.natsAuth));
  const files = Object.entries({ ca: options.natsCa, cert: options.natsCert, key: options.natsKey });
  const shared = files.flatMap(([flag, file]) =>
    file === undefined ? [] : [`--nats-${flag}`, resolve(file)],
  );
  return {
    configuration: authorizationBlock(users),
    operator: {
      ...(users.length > 0 && { nkey: seedOf(users, "operator", members, options.natsAuth) }),
      ...(options.natsCa !== undefined && { ca: resolve(options.natsCa) }),
    },
    flagsOf(service) {
      const nkey = seed(service);
      const creates = busComponents.some((name) => name === service && provisions(name));
      return [
        ...shared,
        ...(nkey === null ? [] : ["--nats-nkey", nkey]),
        ...(creates ? ["--nats-replicas", String(options.natsReplicas)] : []),
      ];
    },
  };
}

function usersOf(members: readonly string[]): BusUser[] {
  return busComponents
    .filter((component) => component !== "replay")
    .map((component) => (component === "member-watcher" ? { component, members } : { component }));
}

function seedOf(
  users: readonly WrittenUser[],
  name: string,
  members: readonly string[],
  folder: string,
): string {
  const found = users.find(
    ({ user }) =>
      user.component === name &&
      (name !== "member-watcher" || members.every((member) => user.members?.includes(member))),
  );
  if (found !== undefined) return found.file;
  const flags =
    name === "member-watcher" ? ` --together ${members.map((m) => `--member ${m}`).join(" ")}` : "";
  throw new BusForbiddenError(
    `${folder} holds no credential for ${name}: sluice nats auth --dir ${folder} --component ${name}${flags}`,
  );
}
