/** The first of some words, and how many more there are: `a b c and 4 more`. */
export function shortened(words: readonly string[], most: number, between: string): string {
  const more = words.length > most ? ` and ${words.length - most} more` : "";
  return `${words.slice(0, most).join(between)}${more}`;
}
