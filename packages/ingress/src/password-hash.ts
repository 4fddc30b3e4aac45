import type { SecretLookup } from "./host-tls.ts";
import { quote } from "./objects.ts";
import type { SecretContents } from "./secret.ts";
import { type SecretNeed, secretKey } from "./secret-need.ts";

const MOST_BCRYPT_COST = 10;
const MOST_SHA_ROUNDS = 50_000;
const MOST_NAMES = 5;

/** Why a proxy would not try a password against this hash, the same as access_passwords.lua says; null: it would. */
export function hashProblem(hash: string): string | null {
  const cost = /^\$2[abxy]\$(\d\d)\$/.exec(hash)?.[1];
  if (cost !== undefined) return Number(cost) > MOST_BCRYPT_COST ? "bcrypt of a cost above 10" : null;
  if (/^\$[56]\$/.test(hash)) {
    const rounds = /^\$[56]\$rounds=(\d+)\$/.exec(hash)?.[1];
    return Number(rounds ?? 0) > MOST_SHA_ROUNDS ? "more than 50,000 rounds" : null;
  }
  if (hash.startsWith("$y$"))
    return /^\$y\$j[5-9]T\$/.test(hash) ? null : "yescrypt of a cost that is not 5 to 9";
  return /^(\$1\$|\$apr1\$|\{PLAIN\}|\{SHA\}|\{SSHA\}|[0-9A-Za-z./]+$)/.test(hash)
    ? null
    : "of an unknown kind";
}

/** By what was read of a Secret: many paths ask for one, and it may hold thousands of users. */
const known = new WeakMap<SecretContents, string | null>();

function problemsOf(contents: SecretContents): string | null {
  const [first, ...others] = Object.entries(contents.sealed?.reveal().users ?? {}).flatMap(([user, hash]) => {
    const why = hashProblem(hash);
    return why === null ? [] : [{ user, why }];
  });
  if (first === undefined) return null;
  const names = [first, ...others].slice(0, MOST_NAMES).map(({ user }) => quote(user));
  const more = others.length >= MOST_NAMES ? ` and ${others.length + 1 - MOST_NAMES} more` : "";
  return (
    `no password is tried for ${names.join(", ")}${more}: the hash of the first is ${first.why}; ` +
    "make it anew with htpasswd -B or htpasswd -m"
  );
}

/** Users of these Secrets that can never come in, a line for each Secret that has any. No hash stands in it. */
export function shutOut(needs: readonly SecretNeed[], secrets: SecretLookup): string[] {
  return needs.flatMap((need) => {
    const contents = secrets(secretKey(need))?.contents(need.kind);
    if (contents?.ok !== true) return [];
    let problem = known.get(contents.value);
    if (problem === undefined) {
      problem = problemsOf(contents.value);
      known.set(contents.value, problem);
    }
    return problem === null ? [] : [`${need.field}: Secret ${secretKey(need)}: ${problem}`];
  });
}
