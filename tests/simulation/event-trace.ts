/**
 * What happened, as one number: two runs that did the same things at the same times in the same order have the same.
 * Two FNV-1a hashes side by side, because 32 bits are few.
 */
export class EventTrace {
  #low = 0x811c9dc5;
  #high = 0x01234567;
  #lines: string[] | null;
  #count = 0;

  /** @param keep keep the lines as well, to be printed */
  constructor(keep = false) {
    this.#lines = keep ? [] : null;
  }

  note(time: number, what: string): void {
    this.#count++;
    let low = Math.imul(this.#low ^ time, 0x01000193);
    let high = Math.imul(this.#high ^ (time >>> 3), 0x01000193);
    for (let i = 0; i < what.length; i++) {
      const code = what.charCodeAt(i);
      low = Math.imul(low ^ code, 0x01000193);
      high = Math.imul(high + code, 0x85ebca6b) ^ (high >>> 15);
    }
    this.#low = low;
    this.#high = high;
    this.#lines?.push(lineOf(time, what));
  }

  /** A line for people, which is no part of what is compared. */
  say(time: number, what: string): void {
    this.#lines?.push(lineOf(time, what));
  }

  get hash(): string {
    const hex = (n: number) => (n >>> 0).toString(16).padStart(8, "0");
    return `${hex(this.#high)}${hex(this.#low)}`;
  }

  get count(): number {
    return this.#count;
  }

  get lines(): readonly string[] {
    return this.#lines ?? [];
  }
}

function lineOf(time: number, what: string): string {
  return `${(time / 1000).toFixed(3).padStart(9)}  ${what}`;
}
