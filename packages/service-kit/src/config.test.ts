import assert from "node:assert/strict";
import { test } from "node:test";
import { ConfigError } from "@sluice/contracts";
import {
  assignment,
  bool,
  type ConfigSpec,
  duration,
  groupAssignments,
  integer,
  oneOf,
  readConfig,
  text,
} from "./config.ts";

const spec = {
  url: { env: "SHOP_URL", flag: "url", help: "where the shop is", read: text },
  port: { env: "SHOP_PORT", flag: "port", help: "port of the shop", default: "80", read: integer(1, 65535) },
  wait: { env: "SHOP_WAIT", flag: "wait", help: "how long", default: "2s", read: duration },
  open: { env: "SHOP_OPEN", flag: "open", help: "whether", default: "false", boolean: true, read: bool },
  mode: { env: "SHOP_MODE", flag: "mode", help: "how", default: "fast", read: oneOf("fast", "slow") },
  member: { env: "SHOP_MEMBERS", flag: "member", help: "who", many: true, read: assignment },
} satisfies ConfigSpec;
const url = ["--url", "http://shop"];

test("what is not said is its default, and a list is empty", () => {
  assert.deepEqual(readConfig(spec, url, {}), {
    url: "http://shop",
    port: 80,
    wait: 2000,
    open: false,
    mode: "fast",
    member: [],
  });
});

test("a variable counts unless the flag is there too, and an empty one is none", () => {
  const env = {
    SHOP_URL: "http://other",
    SHOP_PORT: "81",
    SHOP_OPEN: "1",
    SHOP_MODE: "",
    SHOP_WAIT: "250ms",
  };
  const config = readConfig(spec, ["--port=82", ...url], env);
  assert.deepEqual(
    [config.url, config.port, config.open, config.mode, config.wait],
    ["http://shop", 82, true, "fast", 250],
  );
});

test("a list is a flag given again, or a variable with blanks", () => {
  const both = [
    ["a", "1"],
    ["b", "x=y"],
  ];
  assert.deepEqual(readConfig(spec, [...url, "--member", "a=1", "--member", "b=x=y"], {}).member, both);
  assert.deepEqual(readConfig(spec, url, { SHOP_MEMBERS: " a=1  b=x=y " }).member, both);
});

test("values of one name are put together", () => {
  const given = [
    ["a", "1,2"],
    ["b", "3"],
    ["a", "4,"],
  ] as const;
  assert.deepEqual(
    groupAssignments(given),
    new Map([
      ["a", ["1", "2", "4"]],
      ["b", ["3"]],
    ]),
  );
});

interface Wrong {
  readonly args?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** What stands in the message: the flag, the variable, and what to write instead. */
  readonly says: readonly string[];
}
const wrong: Readonly<Record<string, Wrong>> = {
  "a setting that must be said": { args: [], says: ["--url", "SHOP_URL", "is missing", "where the shop is"] },
  "a number with letters": {
    args: ["--port=8o"],
    says: ["--port=8o", "SHOP_PORT", "a whole number from 1 to 65535"],
  },
  "a number out of range": { args: ["--port=0"], says: ["--port=0", "SHOP_PORT", "from 1 to 65535"] },
  "a fraction": { args: ["--port=1.5"], says: ["--port=1.5", "SHOP_PORT", "whole number"] },
  "a variable that is no number": {
    env: { SHOP_PORT: "x" },
    says: ["SHOP_PORT=x", "--port", "whole number"],
  },
  "a duration without a unit": { args: ["--wait=5"], says: ["--wait=5", "SHOP_WAIT", "250ms, 2s or off"] },
  "a choice that is none": { args: ["--mode=slwo"], says: ["--mode=slwo", "SHOP_MODE", "one of fast, slow"] },
  "a switch with a value": {
    args: ["--open=yes"],
    says: ["--open", "SHOP_OPEN", "takes no value", "write --open alone"],
  },
  "a switch's variable": {
    env: { SHOP_OPEN: "yes" },
    says: ["SHOP_OPEN=yes", "--open", "write true or false"],
  },
  "an assignment without a name": {
    args: ["--member==x"],
    says: ["--member==x", "SHOP_MEMBERS", "write NAME=VALUE"],
  },
  "one bad item of a variable's list": {
    env: { SHOP_MEMBERS: "a=1 b" },
    says: ["SHOP_MEMBERS=b", "--member"],
  },
  "a flag at the end without its value": {
    args: ["--port"],
    says: ["--port", "SHOP_PORT", "write --port=VALUE"],
  },
  "a flag whose value is the next flag": {
    args: ["--port", "--open"],
    says: ["--port", "SHOP_PORT", "write --port=VALUE"],
  },
  "an unknown flag": { args: ["--prot=80"], says: ["--prot is unknown", "--url, --port"] },
  "an unknown short flag": { args: ["-x"], says: ["-x is unknown", "--url, --port"] },
  "a word that belongs to no flag": { args: ["shop"], says: ["'shop'", "--url, --port"] },
};
for (const [what, { args, env, says }] of Object.entries(wrong)) {
  test(`${what} is refused in one line that names flag and variable and what to write`, () => {
    const argv = args?.length === 0 ? [] : [...url, ...(args ?? [])];
    assert.throws(
      () => readConfig(spec, argv, env ?? {}),
      (error) => {
        assert.ok(error instanceof ConfigError);
        assert.equal(error.exit, 64);
        assert.ok(!error.message.includes("\n"), error.message);
        for (const part of says) assert.ok(error.message.includes(part), `${part} in: ${error.message}`);
        return true;
      },
    );
  });
}

test("durations are milliseconds", () => {
  const known = { "250ms": 250, "2s": 2000, "1.5s": 1500, "1m": 60_000, "1h": 3_600_000, off: 0 };
  for (const [written, ms] of Object.entries(known)) assert.equal(duration(written), ms);
  for (const bad of ["", "s", "-1s", "1 s", "1d", "1e3ms"])
    assert.throws(() => duration(bad), /write a duration/);
});
