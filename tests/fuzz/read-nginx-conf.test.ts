import assert from "node:assert/strict";
import { test } from "node:test";
import { ConfError, type ConfNode, readNginxConf } from "./read-nginx-conf.ts";

/** `name arg (block…)` */
function short(nodes: readonly ConfNode[]): string {
  return nodes
    .map(({ name, args, block, lua }) => {
      const inside = block === null ? "" : ` (${short(block)})`;
      return (
        [name, ...args.map((arg) => JSON.stringify(arg))].join(" ") + inside + (lua ? ` lua:${lua}` : "")
      );
    })
    .join(" ");
}

for (const [text, tree] of [
  ["pid a;", 'pid "a"'],
  ['pid "a b" c;', 'pid "a b" "c"'],
  ['pid "a\\"b\\\\c\\td";', 'pid "a\\"b\\\\c\\td"'],
  ["pid a\\;b;", 'pid "a\\\\;b"'],
  ["pid 'a\"; listen 1;';", 'pid "a\\"; listen 1;"'],
  ["pid a\nb # c;\n;", 'pid "a" "b"'],
  ["pid a#b;", 'pid "a#b"'],
  // biome-ignore lint/suspicious/noTemplateCurlyInString: a variable of nginx
  ["set $a ${b}c;", 'set "$a" "${b}c"'],
  ["pid a}b;", 'pid "a}b"'],
  ["http{server{listen 1;}}", 'http (server (listen "1"))'],
  ["http { pid a; } pid b;", 'http (pid "a") pid "b"'],
  ['content_by_lua_block { f("}") -- }\n g([[}]]) }', 'content_by_lua_block lua:f("}") -- }\n g([[}]])'],
  ["set_by_lua_block $a { return {} }", 'set_by_lua_block "$a" lua:return {}'],
] as const) {
  test(`nginx reads ${JSON.stringify(text)} as ${tree}`, () => {
    assert.equal(short(readNginxConf(text)), tree);
  });
}

test("what nginx refuses to read is refused", () => {
  for (const text of [
    "pid a",
    "pid a }",
    "}",
    ";",
    "{}",
    "http {",
    'pid "a',
    'pid "a"b;',
    `pid ${"a".repeat(4096)};`,
    "content_by_lua_block { f(",
    // What looks like a repetition opens a block.
    "location ~ a{3} { return 1; }",
  ]) {
    assert.throws(() => readNginxConf(text), ConfError, text.slice(0, 40));
  }
});
