import { chmod, mkdir, readFile, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { nkeys } from "@nats-io/transport-node";
import { BusForbiddenError, type BusUser, busUserName, permissionsOf } from "@sluice/contracts";

/** How the block for nats-server is written: for a server of Sluice's own, or as an account beside others. */
export type AuthForm = "authorization" | "accounts";

/** A credential that has been written. */
export interface WrittenUser {
  readonly name: string;
  readonly user: BusUser;
  readonly publicKey: string;
  /** The file with its seed. */
  readonly file: string;
}

/** Which users a folder holds, without their seeds. */
const INDEX = "users.json";

interface IndexEntry {
  readonly name: string;
  readonly user: BusUser;
  readonly publicKey: string;
}

/**
 * Writes a seed file for each user that has none yet in the folder; one that is there stays as it is.
 * @returns every user of the folder, by name, whether or not it was asked for now
 * @throws BusForbiddenError when a file of the folder holds no seed
 */
export async function writeCredentials(folder: string, users: readonly BusUser[]): Promise<WrittenUser[]> {
  await mkdir(folder, { recursive: true, mode: 0o700 });
  await chmod(folder, 0o700);
  const index = new Map((await readIndex(folder)).map((entry) => [entry.name, entry]));
  for (const user of users) {
    const name = busUserName(user);
    index.set(name, { name, user, publicKey: await seedFile(join(folder, seedName(name))) });
  }
  const entries = [...index.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
  await replaceFile(join(folder, INDEX), `${JSON.stringify(entries, null, 2)}\n`);
  return readUsers(folder);
}

/** The users of a folder that `writeCredentials` wrote, by name. @throws BusForbiddenError when it holds none */
export async function readUsers(folder: string): Promise<WrittenUser[]> {
  const entries = await readIndex(folder);
  if (entries.length === 0)
    throw new BusForbiddenError(`${folder} holds no credentials; write them with sluice nats auth`);
  return entries.map((entry) => ({ ...entry, file: join(folder, seedName(entry.name)) }));
}

function seedName(user: string): string {
  return `${user}.nk`;
}

/** The public key of the seed in a file, which is made when it is not there. */
async function seedFile(file: string): Promise<string> {
  const pair = nkeys.createUser();
  try {
    await writeFile(file, `${new TextDecoder().decode(pair.getSeed())}\n`, { mode: 0o600, flag: "wx" });
    return pair.getPublicKey();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
  }
  const seed = (await readFile(file, "utf8")).trim();
  try {
    return nkeys.fromSeed(new TextEncoder().encode(seed)).getPublicKey();
  } catch (cause) {
    throw new BusForbiddenError(`${file} holds no seed of an nkey; remove it, and it is made anew`, {
      cause,
    });
  }
}

async function readIndex(folder: string): Promise<IndexEntry[]> {
  const file = join(folder, INDEX);
  try {
    return JSON.parse(await readFile(file, "utf8")) as IndexEntry[];
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === "ENOENT") return [];
    throw new BusForbiddenError(`${file} cannot be read; remove it, and name every user again`, { cause });
  }
}

/** All of it or nothing: a server that reads it meanwhile sees one or the other. */
async function replaceFile(file: string, text: string): Promise<void> {
  await writeFile(`${file}.new`, text, { mode: 0o600 });
  await rename(`${file}.new`, file);
}

/** What nats-server must be told of these users; no secrets are in it. */
export function authorizationBlock(users: readonly WrittenUser[], form: AuthForm = "authorization"): string {
  const pad = form === "authorization" ? "  " : "    ";
  const lines = users.flatMap(({ name, user, publicKey }) => {
    const { publish, subscribe } = permissionsOf(user, publicKey);
    const list = (subjects: readonly string[]) =>
      subjects.map((each) => `${pad}        ${JSON.stringify(each)}`);
    return [
      `${pad}  # ${name}`,
      `${pad}  {`,
      `${pad}    nkey: ${publicKey}`,
      `${pad}    permissions: {`,
      `${pad}      publish: { allow: [`,
      ...list(publish),
      `${pad}      ] }`,
      `${pad}      subscribe: { allow: [`,
      ...list(subscribe),
      `${pad}      ] }`,
      `${pad}    }`,
      `${pad}  }`,
    ];
  });
  const block = [`${pad}users: [`, ...lines, `${pad}]`];
  return form === "authorization"
    ? ["authorization: {", ...block, "}", ""].join("\n")
    : ["accounts: {", "  SLUICE: {", "    jetstream: enabled", ...block, "  }", "}", ""].join("\n");
}
