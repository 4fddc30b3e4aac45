import { parseArgs } from "node:util";
import { ConfigError, parseCidr } from "@sluice/contracts";

/** One setting: a variable, a flag (the flag wins), and how its text is read. */
export interface Setting<T> {
  readonly env: string;
  /** Without the dashes, e.g. `nats-url`. */
  readonly flag: string;
  readonly help: string;
  /** Text as it stands when nothing is said; absent: it must be said. */
  readonly default?: string;
  /** May be given more than once; the variable separates by blanks. */
  readonly many?: true;
  /** A flag without a value. */
  readonly boolean?: true;
  /** Reads the text; throws an Error whose message says what to write instead. */
  read(text: string): T;
}

export type ConfigSpec = Readonly<Record<string, Setting<unknown>>>;
export type ConfigOf<S extends ConfigSpec> = {
  readonly [K in keyof S]: S[K] extends Setting<infer T>
    ? S[K] extends { many: true }
      ? readonly T[]
      : T
    : never;
};

export const text = (value: string): string => value;

export function integer(min: number, max: number): (value: string) => number {
  return (value) => {
    const number = Number(value);
    if (!/^-?[0-9]+$/.test(value) || number < min || number > max) {
      throw new Error(`write a whole number from ${min} to ${max}`);
    }
    return number;
  };
}

/** `250ms`, `2s`, `1m` → milliseconds; `off` → 0. */
export function duration(value: string): number {
  if (value === "off") return 0;
  const match = /^([0-9]+(?:\.[0-9]+)?)(ms|s|m|h)$/.exec(value);
  if (match === null) throw new Error("write a duration such as 250ms, 2s or off");
  const unit = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 }[match[2] as "ms" | "s" | "m" | "h"];
  return Number(match[1]) * unit;
}

export function bool(value: string): boolean {
  if (value === "true" || value === "1") return true;
  if (value === "false" || value === "0" || value === "") return false;
  throw new Error("write true or false");
}

export function oneOf<T extends string>(...choices: readonly T[]): (value: string) => T {
  return (value) => {
    const found = choices.find((c) => c === value);
    if (found === undefined) throw new Error(`write one of ${choices.join(", ")}`);
    return found;
  };
}

/** `NAME=VALUE`, as in `--member member1=kubeconfig.yaml`. */
export function assignment(value: string): readonly [string, string] {
  const at = value.indexOf("=");
  if (at < 1 || at === value.length - 1) throw new Error("write NAME=VALUE");
  return [value.slice(0, at), value.slice(at + 1)];
}

const bothNames = (setting: Setting<unknown>) => `--${setting.flag} (or ${setting.env})`;

/** What to write instead, from an error of `parseArgs`, whose own texts know neither variables nor the other flags. */
function explainBadArguments(spec: ConfigSpec, error: NodeJS.ErrnoException): string {
  const settings = Object.values(spec);
  const flags = settings.map((s) => `--${s.flag}`).join(", ");
  const said = error.message.split("\n")[0] ?? "bad arguments";
  if (error.code === "ERR_PARSE_ARGS_UNEXPECTED_POSITIONAL") {
    return `${/'([^']*)'/.exec(said)?.[0] ?? "an argument"} belongs to no flag: write one of ${flags} before it`;
  }
  const flag = /'(?:-\w, )?--?([^\s'=]+)/.exec(said)?.[1];
  const setting = settings.find((s) => s.flag === flag);
  if (setting === undefined)
    return `${flag === undefined ? said : `--${flag} is unknown`}: write one of ${flags}`;
  return setting.boolean === true
    ? `${bothNames(setting)} takes no value: write --${setting.flag} alone (${setting.help})`
    : `${bothNames(setting)} has no value: write --${setting.flag}=VALUE (${setting.help})`;
}

/**
 * Reads a process's settings from its arguments and environment.
 * @throws ConfigError naming the flag and the variable, and what to write instead
 */
export function readConfig<S extends ConfigSpec>(
  spec: S,
  argv: readonly string[],
  env: Readonly<Record<string, string | undefined>>,
): ConfigOf<S> {
  const options: Record<string, { type: "string" | "boolean"; multiple: boolean }> = {};
  for (const setting of Object.values(spec)) {
    options[setting.flag] = {
      type: setting.boolean === true ? "boolean" : "string",
      multiple: setting.many === true,
    };
  }
  let given: Record<string, unknown>;
  try {
    given = parseArgs({ args: [...argv], options, strict: true, allowPositionals: false }).values;
  } catch (error) {
    throw new ConfigError(explainBadArguments(spec, error as NodeJS.ErrnoException), { cause: error });
  }
  const config: Record<string, unknown> = {};
  for (const [name, setting] of Object.entries(spec)) {
    const flag = given[setting.flag];
    const from = flag !== undefined ? `--${setting.flag}` : setting.env;
    let raw: readonly string[];
    if (flag !== undefined) raw = Array.isArray(flag) ? flag.map(String) : [String(flag)];
    else if (env[setting.env] !== undefined && env[setting.env] !== "") {
      raw = setting.many === true ? env[setting.env]!.split(/\s+/).filter(Boolean) : [env[setting.env]!];
    } else if (setting.default !== undefined) raw = [setting.default];
    else if (setting.many === true) raw = [];
    else throw new ConfigError(`${bothNames(setting)} is missing: ${setting.help}`);
    const values = raw.map((item) => {
      try {
        return setting.read(item);
      } catch (error) {
        const what = `${from}=${item}: ${(error as Error).message}`;
        throw new ConfigError(`${what} (${bothNames(setting)}: ${setting.help})`, { cause: error });
      }
    });
    config[name] = setting.many === true ? values : values[0];
  }
  return config as ConfigOf<S>;
}

/** `NAME=A,B` given any number of times → the values of each name. */
export function groupAssignments(given: readonly (readonly [string, string])[]): Map<string, string[]> {
  const groups = new Map<string, string[]>();
  for (const [name, value] of given) {
    groups.set(name, [...(groups.get(name) ?? []), ...value.split(",").filter(Boolean)]);
  }
  return groups;
}

/** A line for each setting: flag, what it is for, what it is when nothing is said, and its variable. */
export function usageOf(spec: ConfigSpec): string {
  const lines = Object.values(spec).map((setting) => {
    const value = setting.boolean === true ? "" : " VALUE";
    const standard =
      setting.default === undefined || setting.default === "" || setting.boolean === true
        ? ""
        : ` (default ${setting.default})`;
    return `  --${`${setting.flag}${value}`.padEnd(28)} ${setting.help}${standard}; ${setting.env}\n`;
  });
  return lines.join("");
}

/** Where the bus is; one setting for every service. */
export const natsUrlSetting: Setting<string> = {
  env: "SLUICE_NATS_URL",
  flag: "nats-url",
  help: "address of the bus, e.g. nats://127.0.0.1:4222",
  read: text,
};

function file(name: string, help: string): Setting<string | undefined> {
  return {
    env: `SLUICE_${name.toUpperCase().replaceAll("-", "_")}`,
    flag: name,
    help,
    default: "",
    read: (value) => (value === "" ? undefined : value),
  };
}

/** How a process and the bus know each other; the same for every service. */
export const natsFileSettings = {
  natsNkey: file("nats-nkey", "file with this process's nkey seed, as sluice nats auth writes it"),
  natsCa: file(
    "nats-ca",
    "file with the certificate that signed the bus's, PEM; the connection must be encrypted",
  ),
  natsCert: file("nats-cert", "file with this process's own certificate for the bus, PEM"),
  natsKey: file("nats-key", "file with the key of that certificate, PEM"),
} satisfies ConfigSpec;

/** Copies of each stream; of those who create what is missing on the bus. */
export const natsReplicasSetting: Setting<number> = {
  env: "SLUICE_NATS_REPLICAS",
  flag: "nats-replicas",
  help: "copies of each table on a cluster of NATS servers, at least; fewer are raised",
  default: "1",
  read: integer(1, 5),
};

/** Where peers may be; one setting for `up` and for every service that holds members to it. */
export const peersSetting: Setting<readonly [cluster: string, cidrs: string]> & { readonly many: true } = {
  env: "SLUICE_PEERS",
  flag: "peers",
  help: "NAME=CIDR[,CIDR]: where that cluster's peers may be, besides what its Nodes tell; may be repeated",
  many: true,
  read(value) {
    const [cluster, list] = assignment(value);
    const cidrs = list.split(",").map((cidr) => cidr.trim());
    for (const cidr of cidrs) {
      if (parseCidr(cidr) === null) throw new Error(`${cidr} is no CIDR; write NAME=CIDR[,CIDR]`);
    }
    return [cluster, cidrs.join(",")];
  },
};

/** A name that goes into keys of the bus, e.g. a fleet's. */
export function dnsName(value: string): string {
  if (!/^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$/.test(value)) throw new Error("write a lower-case DNS name");
  return value;
}
