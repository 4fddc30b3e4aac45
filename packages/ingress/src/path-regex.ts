// Which regular expressions a path may be. They are run by PCRE in a proxy that serves others too, so whatever PCRE would
// refuse, or what can do more than match, is refused here and told to whoever wrote it. The time of a match is bounded
// there.

const MAX_LENGTH = 2048;
const MAX_DEPTH = 16;
const MAX_GROUPS = 50;
/** Of one counted repetition, and of all nested ones together: PCRE writes them out. */
const MAX_REPEATS = 1000;

const CLASS_ESCAPES = "dDwWsShHvV";
const POSIX =
  /^\[:\^?(alnum|alpha|ascii|blank|cntrl|digit|graph|lower|print|punct|space|upper|word|xdigit):\]/;

export type RegexCheck = { readonly ok: true } | { readonly ok: false; readonly why: string };

class Refused extends Error {}

/** Reads one expression; throws Refused with what is wrong. */
class Reader {
  readonly #text: string;
  #at = 0;
  #groups = 0;
  readonly #names = new Set<string>();

  constructor(text: string) {
    this.#text = text;
  }

  read(): void {
    this.#alternatives(0);
    if (this.#at < this.#text.length) throw new Refused("has a ) without its (");
  }

  #next(text: string): boolean {
    if (!this.#text.startsWith(text, this.#at)) return false;
    this.#at += text.length;
    return true;
  }

  #match(pattern: RegExp): RegExpExecArray | null {
    const found = pattern.exec(this.#text.slice(this.#at));
    if (found !== null) this.#at += found[0].length;
    return found;
  }

  /** @returns how often the innermost part is written out */
  #alternatives(depth: number): number {
    if (depth > MAX_DEPTH) throw new Refused(`is nested deeper than ${MAX_DEPTH}`);
    let repeats = 1;
    while (this.#at < this.#text.length && this.#text[this.#at] !== ")") {
      if (this.#next("|")) continue;
      repeats = Math.max(repeats, this.#repeated(depth));
    }
    return repeats;
  }

  #repeated(depth: number): number {
    const { repeats, repeatable } = this.#atom(depth);
    const counted = this.#match(/^(?:[*+?]|\{([0-9]{1,5})(?:,([0-9]{0,5}))?\})/);
    if (counted === null) return repeats;
    if (!repeatable) throw new Refused("repeats what cannot be repeated");
    const [, least, most] = counted;
    let times = 1;
    if (least !== undefined) {
      times = Math.max(Number(least), Number(most ?? ""));
      if (most !== undefined && most !== "" && Number(most) < Number(least)) {
        throw new Refused(`repeats from ${least} to ${most}`);
      }
    }
    this.#match(/^[?+]/);
    if (this.#match(/^(?:[*+?]|\{[0-9]+(?:,[0-9]*)?\})/) !== null) throw new Refused("repeats a repetition");
    const all = repeats * Math.max(1, times);
    if (all > MAX_REPEATS) throw new Refused(`repeats more than ${MAX_REPEATS} times`);
    return all;
  }

  #atom(depth: number): { repeats: number; repeatable: boolean } {
    const one = { repeats: 1, repeatable: true };
    if (this.#next("(")) return this.#group(depth);
    if (this.#next("[")) {
      this.#set();
      return one;
    }
    if (this.#next("\\")) return { repeats: 1, repeatable: this.#escape() };
    const char = this.#text[this.#at++] ?? "";
    if ("*+?".includes(char)) throw new Refused("repeats nothing");
    // What else may be a repetition differs between versions of PCRE.
    if (char === "{") throw new Refused("has a { that begins no repetition; write \\{ for { itself");
    return { repeats: 1, repeatable: char !== "^" && char !== "$" };
  }

  #group(depth: number): { repeats: number; repeatable: boolean } {
    let repeatable = true;
    if (this.#next("*")) throw new Refused("holds a verb (*");
    if (this.#next("?")) {
      if (this.#match(/^-?[ims]{1,3}\)/) !== null) return { repeats: 1, repeatable: false };
      const named = this.#match(/^P?<([A-Za-z_][A-Za-z0-9_]{0,30})>/);
      if (named !== null) {
        const [, name = ""] = named;
        if (this.#names.has(name)) throw new Refused(`has two groups named ${name}`);
        this.#names.add(name);
        this.#groups++;
      } else if (this.#match(/^(?:=|!)/) !== null) repeatable = false;
      else if (this.#match(/^(?:>|(?:-?[ims]{1,3})?:)/) === null) {
        throw new Refused("holds a (? other than (?: (?= (?! (?> (?i) (?m) (?s) and (?<name>");
      }
    } else this.#groups++;
    if (this.#groups > MAX_GROUPS) throw new Refused(`has more than ${MAX_GROUPS} groups`);
    const repeats = this.#alternatives(depth + 1);
    if (!this.#next(")")) throw new Refused("has a ( without its )");
    return { repeats, repeatable };
  }

  /** Behind a backslash. @returns whether it stands for a character */
  #escape(): boolean {
    if (this.#match(/^(?:x[0-9A-Fa-f]{2}|[dDwWsShHvVtnrf]|[^A-Za-z0-9])/) !== null) return true;
    if (this.#match(/^[bBAzZ]/) !== null) return false;
    const char = this.#text[this.#at];
    throw new Refused(char === undefined ? "ends with \\" : `holds \\${char}`);
  }

  /** Behind `[`. */
  #set(): void {
    this.#next("^");
    if (/^[:.=]/.test(this.#text.slice(this.#at))) throw new Refused("has a class [: outside [ ]");
    let first = true;
    while (first || this.#text[this.#at] !== "]") {
      if (this.#at >= this.#text.length) throw new Refused("has a [ without its ]");
      first = false;
      const from = this.#member();
      if (this.#text[this.#at] !== "-" || "]".includes(this.#text[this.#at + 1] ?? "]")) continue;
      this.#at++;
      const to = this.#member();
      if (from === null || to === null || from > to)
        throw new Refused("has a range that goes nowhere in [ ]");
    }
    this.#at++;
  }

  /** @returns its code; null: it is a class of characters */
  #member(): number | null {
    if (this.#match(POSIX) !== null) return null;
    if (/^\[[:.=]/.test(this.#text.slice(this.#at)))
      throw new Refused("has [: inside [ ] that names no class");
    if (!this.#next("\\")) {
      const code = this.#text.codePointAt(this.#at) ?? 0;
      // PCRE sees bytes: a range of such characters would be one of their parts.
      if (code > 0x7e) throw new Refused("holds a character inside [ ] that is not ASCII");
      this.#at++;
      return code;
    }
    const hex = this.#match(/^x([0-9A-Fa-f]{2})/);
    if (hex !== null) return Number.parseInt(hex[1] ?? "", 16);
    const char = this.#text[this.#at] ?? "";
    if (!/^(?:[dDwWsShHvVtnrf]|[^A-Za-z0-9])$/.test(char) || char > "~") {
      throw new Refused(`holds \\${char} inside [ ]`);
    }
    this.#at++;
    return CLASS_ESCAPES.includes(char) ? null : (CONTROLS[char] ?? char.charCodeAt(0));
  }
}

const CONTROLS: Readonly<Record<string, number>> = { t: 9, n: 10, r: 13, f: 12 };

/** Whether a path may be this regular expression; `why` goes on from "it". */
export function checkRegex(text: string): RegexCheck {
  if (text.length > MAX_LENGTH) return { ok: false, why: `is longer than ${MAX_LENGTH} characters` };
  // biome-ignore lint/suspicious/noControlCharactersInRegex: refusing them is the point
  if (/[\x00-\x1f\x7f]/.test(text)) return { ok: false, why: "holds a control character" };
  if (!text.isWellFormed()) return { ok: false, why: "is not Unicode" };
  try {
    new Reader(text).read();
    return { ok: true };
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    return { ok: false, why: error.message };
  }
}

/** An expression that matches this text and nothing else. */
export function literalRegex(text: string): string {
  return text.replace(/[\\^$.|?*+()[\]{}]/g, "\\$&");
}
