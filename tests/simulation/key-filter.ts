type Matches = (key: string) => boolean;

const known = new Map<string, Matches>();

/** A NATS subject filter over keys: `*` one token, `>` the rest. Compiled once: each write asks every follower. */
export function keyFilter(filter: string): Matches {
  let matches = known.get(filter);
  if (matches === undefined) {
    const pattern = filter
      .split(".")
      .map((token) => (token === ">" ? ".+" : token === "*" ? "[^.]+" : token.replaceAll(/[^\w-]/g, "\\$&")))
      .join("\\.");
    const expression = new RegExp(`^${pattern}$`);
    matches = filter === ">" ? () => true : (key) => expression.test(key);
    known.set(filter, matches);
  }
  return matches;
}
