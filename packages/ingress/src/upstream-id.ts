import { createHash } from "node:crypto";

const MAX_ID = 128;
const HASH = 16;
const PLAIN = /^[0-9a-z]+$/;

/** The id of an import's port. Part of the key format. */
export function upstreamId(namespace: string, service: string, port: string): string {
  return joinedId([namespace, service, port]);
}

/**
 * One id of several names: [0-9a-z-], at most 128 characters, the same for ever. Part of the key format.
 * Where joining by hyphens could mean two things (a name holds one itself) or would be too long, a hash follows.
 */
export function joinedId(names: readonly string[]): string {
  const given = names.filter((name) => name !== "");
  const joined = given.join("-");
  if (joined.length <= MAX_ID && given.every((name) => PLAIN.test(name))) return joined;
  // "/" is in no Kubernetes name, so the hashed text means one thing only.
  const hash = createHash("sha256").update(names.join("/")).digest("hex").slice(0, HASH);
  const readable = joined.toLowerCase().replaceAll(/[^0-9a-z-]/g, "-");
  return `${readable.slice(0, MAX_ID - HASH - 1)}-${hash}`;
}
