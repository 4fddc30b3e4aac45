import { readFile } from "node:fs/promises";
import { type ConnectionOptions, nkeyAuthenticator, nkeys } from "@nats-io/transport-node";
import { BusForbiddenError, inboxPrefixOf } from "@sluice/contracts";

/** Files by which a process and the bus know each other; what is absent is not used. */
export interface BusFiles {
  /** Seed of an nkey, as `sluice nats auth` writes it. */
  readonly nkey?: string;
  /** PEM: who signed the server's certificate. */
  readonly ca?: string;
  /** PEM: this process's own certificate and its key, where the server asks for one. */
  readonly cert?: string;
  readonly key?: string;
}

export interface BusCredentials {
  readonly options: Pick<ConnectionOptions, "authenticator" | "inboxPrefix" | "tls">;
  /** Where answers come to this process and to nobody else. */
  readonly inboxPrefix: string;
  /** For messages: the file and the public key by which the server knows its holder. */
  readonly who: string;
  /** The connection must be encrypted. */
  readonly tls: boolean;
}

/** @throws BusForbiddenError naming the file that cannot be used */
export async function readCredentials(files: BusFiles): Promise<BusCredentials> {
  const [ca, cert, key] = await Promise.all([files.ca, files.cert, files.key].map(readable));
  if ((cert === undefined) !== (key === undefined)) {
    throw new BusForbiddenError("a certificate for the bus needs its key: give --nats-cert and --nats-key");
  }
  const tls = ca !== undefined || cert !== undefined;
  const encrypted = tls ? { tls: { ...(ca && { ca }), ...(cert && { cert }), ...(key && { key }) } } : {};
  if (files.nkey === undefined)
    return { options: encrypted, inboxPrefix: "_INBOX", who: "no credential", tls };
  const seed = new TextEncoder().encode((await readable(files.nkey))?.trim());
  const publicKey = publicKeyOf(seed, files.nkey);
  const inboxPrefix = inboxPrefixOf(publicKey);
  return {
    options: { ...encrypted, authenticator: nkeyAuthenticator(seed), inboxPrefix },
    inboxPrefix,
    who: `user ${publicKey} of ${files.nkey}`,
    tls,
  };
}

function publicKeyOf(seed: Uint8Array, file: string): string {
  try {
    return nkeys.fromSeed(seed).getPublicKey();
  } catch (cause) {
    throw new BusForbiddenError(`${file} holds no seed of an nkey; write one with sluice nats auth`, {
      cause,
    });
  }
}

async function readable(file: string | undefined): Promise<string | undefined> {
  if (file === undefined) return undefined;
  try {
    return await readFile(file, "utf8");
  } catch (cause) {
    throw new BusForbiddenError(`${file} cannot be read (${(cause as NodeJS.ErrnoException).code})`, {
      cause,
    });
  }
}
