import assert from "node:assert/strict";
import { test } from "node:test";
import { hashProblem, shutOut } from "./password-hash.ts";
import { ReadSecret } from "./secret.ts";

test("a hash that would keep a worker busy, or of a kind that nobody knows, is told apart", () => {
  for (const good of [
    "{PLAIN}x",
    "{SHA}x",
    "{SSHA}x",
    "$apr1$abcdefgh$x",
    "$1$abcdefgh$x",
    "$5$abcdefgh$x",
    "$6$rounds=50000$abcdefgh$x",
    "$2y$10$x",
    "$y$j9T$abcdefgh$x",
    "ab/G8gtZdMwak",
  ]) {
    assert.equal(hashProblem(good), null, good);
  }
  for (const bad of [
    "$2y$11$x",
    "$2b$31$x",
    "$6$rounds=50001$x$x",
    "$y$jAT$x$x",
    "$7$x",
    "{CRYPT}x",
    "!",
    "",
  ]) {
    assert.notEqual(hashProblem(bad), null, bad);
  }
});

test("users that can never come in are named, without their hashes, and only some of many", () => {
  const data = (users: Readonly<Record<string, string>>) => ({
    auth: Buffer.from(
      Object.entries(users)
        .map((pair) => pair.join(":"))
        .join("\n"),
    ).toString("base64"),
  });
  const said = (users: Readonly<Record<string, string>>) => {
    const secret = new ReadSecret({ metadata: { namespace: "shop", name: "users" }, data: data(users) });
    const need = { kind: "users", namespace: "shop", name: "users", field: "auth-secret" } as const;
    return shutOut([need], () => secret);
  };
  assert.deepEqual(said({ alice: "{PLAIN}x" }), []);
  const [line = ""] = said({ alice: "{PLAIN}x", bob: "$2y$12$sentinel", carol: "!" });
  assert.match(
    line,
    /Secret shop\/users: no password is tried for "bob", "carol": .*bcrypt of a cost above 10/,
  );
  assert.doesNotMatch(line, /sentinel|alice/);
  const many = Object.fromEntries(Array.from({ length: 100 }, (_, i) => [`user${i}`, "!"]));
  assert.match(said(many)[0] ?? "", /"user4" and 95 more: /);
});
