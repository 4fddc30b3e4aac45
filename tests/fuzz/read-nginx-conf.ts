// Reads nginx.conf as nginx does: its words by the rules of ngx_conf_read_token (nginx 1.22, core/ngx_conf_file.c), the
// Lua in `*_by_lua_block` by those of lua-nginx-module's lexer. Written from these and from nothing of ours, so that
// what our emitter takes for one value and nginx for two is seen.

export interface ConfNode {
  readonly name: string;
  readonly args: readonly string[];
  /** null: no block. */
  readonly block: readonly ConfNode[] | null;
  /** What stands in a Lua block. */
  readonly lua?: string;
}

/** nginx would not read it, or not at all as it was meant. */
export class ConfError extends Error {
  constructor(what: string, line: number) {
    super(`nginx.conf:${line}: ${what}`);
  }
}

/** NGX_CONF_BUFFER: one word with all that stands behind it in the buffer must fit. */
const MAX_WORD = 4096;
const BLANK = " \t\r\n";

type Ending = ";" | "{" | "}" | "end";

class Tokens {
  readonly #text: string;
  #at = 0;
  line = 1;

  constructor(text: string) {
    this.#text = text;
  }

  #next(): string | undefined {
    const char = this.#text[this.#at++];
    if (char === "\n") this.line++;
    return char;
  }

  /** The words up to the end of a directive, or of a block. */
  statement(): { readonly words: readonly string[]; readonly ending: Ending } {
    const words: string[] = [];
    for (;;) {
      const char = this.#next();
      if (char === undefined) {
        if (words.length > 0) throw new ConfError('unexpected end of file, expecting ";" or "}"', this.line);
        return { words, ending: "end" };
      }
      if (BLANK.includes(char)) continue;
      if (char === "#") {
        while (this.#at < this.#text.length && this.#text[this.#at] !== "\n") this.#at++;
        continue;
      }
      if (char === ";" || char === "{") {
        if (words.length === 0) throw new ConfError(`unexpected "${char}"`, this.line);
        return { words, ending: char };
      }
      if (char === "}") {
        if (words.length > 0) throw new ConfError('unexpected "}"', this.line);
        return { words, ending: "}" };
      }
      const ending = char === '"' || char === "'" ? this.#quoted(char, words) : this.#plain(words);
      if (ending !== null) return { words, ending };
    }
  }

  /** Behind its first quote. @returns the ending that stands right behind it */
  #quoted(quote: string, words: string[]): Ending | null {
    const from = this.#at;
    for (;;) {
      const char = this.#next();
      if (char === undefined) throw new ConfError(`no closing ${quote}`, this.line);
      if (char === "\\") this.#next();
      else if (char === quote) break;
    }
    this.#push(from, this.#at - 1, words);
    const char = this.#next();
    if (char === ";" || char === "{") return char;
    if (char === ")") {
      // nginx lets a parenthesis follow, and begins a word with what comes behind it.
      return null;
    }
    if (char === undefined || !BLANK.includes(char)) throw new ConfError(`unexpected "${char}"`, this.line);
    return null;
  }

  /** Its first character is read. */
  #plain(words: string[]): Ending | null {
    const from = this.#at - 1;
    let before = this.#text[from];
    if (before === "\\") this.#next();
    for (;;) {
      const char = this.#next();
      if (char === undefined) throw new ConfError('unexpected end of file, expecting ";" or "}"', this.line);
      // `${name}`: this brace begins no block.
      if (char === "{" && before === "$") {
        before = char;
        continue;
      }
      before = char;
      if (char === "\\") {
        this.#next();
        before = "";
      } else if (BLANK.includes(char) || char === ";" || char === "{") {
        this.#push(from, this.#at - 1, words);
        return char === ";" || char === "{" ? char : null;
      }
    }
  }

  #push(from: number, to: number, words: string[]): void {
    if (to - from >= MAX_WORD) throw new ConfError("too long parameter", this.line);
    words.push(unescaped(this.#text.slice(from, to)));
  }

  /** Behind the brace of a Lua block: up to the brace that closes it. */
  lua(): string {
    const from = this.#at;
    let depth = 1;
    for (;;) {
      const char = this.#next();
      if (char === undefined) throw new ConfError("the Lua block has no end", this.line);
      if (char === "{") depth++;
      else if (char === "}" && --depth === 0) return this.#text.slice(from, this.#at - 1);
      else if (char === '"' || char === "'") this.#luaString(char);
      else if (char === "[") this.#longBracket();
      else if (char === "-" && this.#text[this.#at] === "-") this.#luaComment();
    }
  }

  #luaString(quote: string): void {
    for (;;) {
      const char = this.#next();
      if (char === undefined || char === "\n") throw new ConfError("a Lua string has no end", this.line);
      if (char === "\\") this.#next();
      else if (char === quote) return;
    }
  }

  /** Behind `[`. @returns whether it was one */
  #longBracket(): boolean {
    const [open] = /^=*\[/.exec(this.#text.slice(this.#at, this.#at + 64)) ?? [];
    if (open === undefined) return false;
    const close = `]${"=".repeat(open.length - 1)}]`;
    const end = this.#text.indexOf(close, this.#at);
    if (end < 0) throw new ConfError("a Lua long bracket has no end", this.line);
    for (const to = end + close.length; this.#at < to; ) this.#next();
    return true;
  }

  #luaComment(): void {
    this.#next();
    if (this.#text[this.#at] === "[") {
      this.#next();
      if (this.#longBracket()) return;
    }
    while (this.#at < this.#text.length && this.#text[this.#at] !== "\n") this.#at++;
  }
}

const ESCAPES: Readonly<Record<string, string>> = {
  '"': '"',
  "'": "'",
  "\\": "\\",
  t: "\t",
  r: "\r",
  n: "\n",
};

/** Other characters keep their backslash. */
function unescaped(text: string): string {
  return text.replace(/\\(["'\\trn])/g, (_, char: string) => ESCAPES[char] ?? char);
}

function readBlock(tokens: Tokens, inside: boolean): ConfNode[] {
  const nodes: ConfNode[] = [];
  for (;;) {
    const { words, ending } = tokens.statement();
    if (ending === "end" || ending === "}") {
      if ((ending === "}") !== inside) throw new ConfError(`unexpected ${ending}`, tokens.line);
      return nodes;
    }
    const [name = "", ...args] = words;
    if (ending === ";") nodes.push({ name, args, block: null });
    else if (/_by_lua_block$/.test(name)) nodes.push({ name, args, block: null, lua: tokens.lua().trim() });
    else nodes.push({ name, args, block: readBlock(tokens, true) });
  }
}

/** @throws ConfError */
export function readNginxConf(text: string): readonly ConfNode[] {
  return readBlock(new Tokens(text), false);
}
