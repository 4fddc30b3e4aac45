import type { ReadSecret, SecretContents } from "./secret.ts";
import { type SecretNeed, secretId, secretKey } from "./secret-need.ts";

/** A need, and the id of its row. */
type WantedSecret = SecretNeed & { readonly id: string };

/** What is to be of the row of a Secret that routes need. */
export type SecretWant =
  | { readonly kind: "row"; readonly need: WantedSecret; readonly contents: SecretContents }
  /** It cannot be used: the row that was made of it while it could stays. */
  | { readonly kind: "stays"; readonly need: WantedSecret; readonly why: string }
  /** The hub has none of that name. */
  | { readonly kind: "gone"; readonly need: WantedSecret }
  /** Nobody could look at it yet. */
  | { readonly kind: "unknown"; readonly need: WantedSecret };

/** @param secret null: the hub has none of that name; undefined: nobody could look at it yet */
export function wantOf(asked: SecretNeed, secret: ReadSecret | null | undefined): SecretWant {
  const need = { ...asked, id: secretId(asked) };
  if (secret === undefined) return { kind: "unknown", need };
  if (secret === null) return { kind: "gone", need };
  if (need.optional === true && !secret.hasCertificate) return { kind: "gone", need };
  const contents = secret.contents(need.kind);
  return contents.ok
    ? { kind: "row", need, contents: contents.value }
    : { kind: "stays", need, why: `Secret ${secretKey(need)}: ${contents.why}` };
}
