import type { Mutation } from "../simulation/take-away.ts";

/** Rules that keep hostile text out, each taken away by `--plant NAME` to show that it is missed. */
export const plants: readonly Mutation[] = [
  {
    name: "quoting",
    file: "services/proxy-agent/src/nginx-text.ts",
    from: `.replaceAll('"', '\\\\"')`,
    to: "",
  },
  {
    name: "bounds",
    file: "packages/ingress/src/annotation-values.ts",
    from: "Number.isSafeInteger(value) && value >= min && value <= max ? value : null",
    to: "value + 0 * (min + max)",
  },
  {
    name: "agent's bounds",
    file: "services/proxy-agent/src/profile-settings.ts",
    from: "(!Number.isInteger(value) || value < min || value > max)",
    to: "(min > max)",
  },
  {
    name: "listeners' bounds",
    file: "packages/ingress/src/listener-settings.ts",
    from: "Number.isInteger(value) && value >= min && value <= max",
    to: "Number.isInteger(value) && min <= max",
  },
  {
    name: "words",
    file: "services/proxy-agent/src/nginx-text.ts",
    from: "!/^[a-z0-9_.]+( [a-z0-9_.]+)*$/.test(text)",
    to: 'text === ""',
  },
  {
    name: "path characters",
    file: "packages/ingress/src/path.ts",
    from: "/[\\x00-\\x1f\\x7f]/.test(text)",
    to: 'text === ""',
  },
  {
    name: "URL characters",
    file: "packages/ingress/src/annotation-values.ts",
    from: "const PLAIN = /^[\\x21-\\x23\\x25-\\x7e]{1,2048}$/;",
    to: "const PLAIN = /^[^]{1,2048}$/;",
  },
  {
    name: "room",
    file: "packages/ingress/src/route-room.ts",
    from: "bytesOf(row) <= MOST_OF_A_HOST",
    to: "bytesOf(row) > 0",
  },
  {
    name: "room of an object",
    file: "packages/ingress/src/route-room.ts",
    from: "return left < 0;",
    to: "return left === undefined;",
  },
  {
    name: "look-ups",
    file: "packages/ingress/src/by-host.ts",
    from: "list.length < INDEXED_FROM",
    to: "INDEXED_FROM > 0",
  },
  {
    name: "identity",
    file: "services/proxy-agent/src/nginx-backends.ts",
    from: "digest(JSON.stringify([shown, proof]))",
    to: "digest(String([shown, proof].length))",
  },
  {
    name: "addresses",
    file: "services/proxy-agent/src/fleet-rows.ts",
    from: "if (verdict.allowed) {",
    to: "if (verdict) {",
  },
];
