/** A NATS subject filter over keys: `*` one token, `>` the rest. */
export function subjectFilter(filter: string): (key: string) => boolean {
  if (filter === ">") return () => true;
  const tokens = filter.split(".");
  return (key) => {
    const given = key.split(".");
    for (const [i, token] of tokens.entries()) {
      if (token === ">") return given.length > i;
      if (given[i] === undefined || (token !== "*" && token !== given[i])) return false;
    }
    return given.length === tokens.length;
  };
}
