import { createHash, generateKeyPairSync, type webcrypto } from "node:crypto";
import { chmod, mkdir, readFile, rename, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { FleetKeyError } from "@sluice/contracts";
import { Confidential } from "./confidential.ts";
import { suite } from "./suite.ts";

// A fleet's key: X25519, written as a JSON Web Key (RFC 8037). Whoever writes the fleet's table has the public half
// alone; each of the fleet's proxies has the private one.

/** Half of a key pair, ready for use. */
export interface FleetPublicKey {
  /** RFC 7638, SHA-256, base64url. */
  readonly id: string;
  readonly key: webcrypto.CryptoKey;
}

export interface FleetPrivateKey {
  /** That of the public half. */
  readonly id: string;
  readonly key: Confidential<webcrypto.CryptoKey>;
}

export interface FleetKeyFiles {
  /** For proxies; mode 0600. */
  readonly privateFile: string;
  /** For whoever writes the fleet's table. */
  readonly publicFile: string;
  /** Of the pair in these files. */
  readonly id: string;
}

const PRIVATE = "fleet-key.json";
const PUBLIC = "fleet-key.pub.json";
/** A key has some 150 bytes. */
const MAX_FILE = 64 * 1024;

interface Jwk {
  readonly kty: "OKP";
  readonly crv: "X25519";
  readonly x: string;
  readonly d?: string;
}

/** @returns both halves as JSON Web Keys; the private one holds the public one */
export function makeFleetKey(): { readonly privateJwk: Confidential<string>; readonly publicJwk: string } {
  const { privateKey } = generateKeyPairSync("x25519");
  const { x = "", d = "" } = privateKey.export({ format: "jwk" });
  const publicJwk = { kty: "OKP", crv: "X25519", x };
  return {
    privateJwk: new Confidential(JSON.stringify({ ...publicJwk, d })),
    publicJwk: JSON.stringify(publicJwk),
  };
}

/**
 * Sees that a folder holds a key pair: the one that is there stays, and of a private half alone the public one is made.
 * @throws FleetKeyError when a file is there that holds no such key
 */
export async function writeFleetKey(folder: string): Promise<FleetKeyFiles> {
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const privateFile = join(folder, PRIVATE);
  const publicFile = join(folder, PUBLIC);
  const pair = makeFleetKey();
  try {
    await writeFile(privateFile, `${pair.privateJwk.reveal()}\n`, { mode: 0o600, flag: "wx" });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
    await chmod(privateFile, 0o600);
  }
  const { x } = await readJwk(privateFile);
  const jwk: Jwk = { kty: "OKP", crv: "X25519", x };
  // All of it or nothing: whoever reads it meanwhile sees one or the other.
  await writeFile(`${publicFile}.new`, `${JSON.stringify(jwk)}\n`, { mode: 0o644 });
  await rename(`${publicFile}.new`, publicFile).catch(async (error: unknown) => {
    await rm(`${publicFile}.new`, { force: true });
    throw error;
  });
  return { privateFile, publicFile, id: thumbprint(jwk) };
}

/** @throws FleetKeyError when the file holds no public key of a fleet, or more than that */
export async function readPublicKey(file: string): Promise<FleetPublicKey> {
  const jwk = await readJwk(file);
  if (jwk.d !== undefined) {
    throw new FleetKeyError(
      `${file} holds the private half of a fleet's key, which belongs to proxies alone; give the public one (${PUBLIC})`,
    );
  }
  return { id: thumbprint(jwk), key: await imported(file, jwk, true) };
}

/** @throws FleetKeyError when the file holds no private key of a fleet, or others may read it */
export async function readPrivateKey(file: string): Promise<FleetPrivateKey> {
  const jwk = await readJwk(file);
  if (jwk.d === undefined) {
    throw new FleetKeyError(
      `${file} holds the public half of a fleet's key; proxies need the private one (${PRIVATE})`,
    );
  }
  const { mode } = await stat(file);
  if ((mode & 0o004) !== 0) {
    throw new FleetKeyError(
      `${file} may be read by everybody (mode ${(mode & 0o777).toString(8)}); run chmod 600 on it, or mount it with 0400`,
    );
  }
  return { id: thumbprint(jwk), key: new Confidential(await imported(file, jwk, false)) };
}

/** RFC 7638: the members that a key must have, in order of their names, without blanks. */
function thumbprint({ crv, kty, x }: Jwk): string {
  return createHash("sha256").update(JSON.stringify({ crv, kty, x })).digest("base64url");
}

async function readJwk(file: string): Promise<Jwk> {
  let text: string;
  try {
    text = await readFile(file, "utf8");
  } catch (cause) {
    throw new FleetKeyError(`${file} cannot be read; write a key with sluice fleet-key`, { cause });
  }
  const jwk = text.length > MAX_FILE ? null : jwkOf(text);
  // What is in the file is not said: it may be a private key after all.
  if (jwk === null) {
    throw new FleetKeyError(`${file} holds no X25519 key as a JSON Web Key; write one with sluice fleet-key`);
  }
  return jwk;
}

function jwkOf(text: string): Jwk | null {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return null;
  }
  if (typeof value !== "object" || value === null) return null;
  const { kty, crv, x, d } = value as Record<string, unknown>;
  const is32Bytes = (field: unknown): field is string =>
    typeof field === "string" && /^[A-Za-z0-9_-]{43}$/.test(field);
  if (kty !== "OKP" || crv !== "X25519" || !is32Bytes(x)) return null;
  if (d === undefined) return { kty, crv, x };
  return is32Bytes(d) ? { kty, crv, x, d } : null;
}

async function imported(file: string, jwk: Jwk, isPublic: boolean): Promise<webcrypto.CryptoKey> {
  try {
    return await suite.kem.importKey("jwk", { ...jwk, key_ops: isPublic ? [] : ["deriveBits"] }, isPublic);
  } catch {
    // Without a cause: nobody knows what it would quote.
    throw new FleetKeyError(`${file} holds no usable X25519 key; write one with sluice fleet-key`);
  }
}
