import { join } from "node:path";
import { type AuthForm, authorizationBlock, writeCredentials } from "@sluice/bus";
import { type BusComponent, type BusUser, busComponents, busUserName, ConfigError } from "@sluice/contracts";
import { dnsName } from "@sluice/service-kit";

export interface NatsAuthOptions {
  readonly dir: string;
  readonly component: readonly string[];
  readonly member: readonly string[];
  readonly together: boolean;
  readonly fleet: string;
  readonly proxy: readonly string[];
  readonly as: string;
}

function names(flag: string, given: readonly string[]): readonly string[] {
  for (const name of given) {
    try {
      dnsName(name);
    } catch (error) {
      throw new ConfigError(`--${flag} ${name}: ${(error as Error).message}`);
    }
  }
  return given;
}

/** The credentials that are asked for; without `--component` those of a whole Sluice. @throws ConfigError */
export function wantedUsers(options: NatsAuthOptions): BusUser[] {
  const members = names("member", options.member);
  const proxies = names("proxy", options.proxy);
  const [fleet = ""] = names("fleet", [options.fleet]);
  const wanted = options.component.map((name) => {
    const found = busComponents.find((component) => component === name);
    if (found === undefined) {
      throw new ConfigError(`--component ${name}: write one of ${busComponents.join(", ")}`);
    }
    return found;
  });
  if (wanted.includes("member-watcher") && members.length === 0) {
    throw new ConfigError("--component member-watcher: name its clusters with --member NAME");
  }
  // Nobody needs a replay's credential on a bus that is recorded.
  const components = wanted.length > 0 ? wanted : busComponents.filter((name) => name !== "replay");
  return components.flatMap((component) =>
    usersOf(component, { members, proxies, fleet, together: options.together }),
  );
}

function usersOf(
  component: BusComponent,
  given: { members: readonly string[]; proxies: readonly string[]; fleet: string; together: boolean },
): BusUser[] {
  const { members, proxies, fleet, together } = given;
  switch (component) {
    case "member-watcher":
      if (members.length === 0) return [];
      return together
        ? [{ component, members }]
        : members.map((member) => ({ component, members: [member] }));
    case "config-renderer":
      return [{ component, fleet }];
    case "proxy-agent":
      return proxies.length === 0
        ? [{ component, fleet }]
        : proxies.map((proxy) => ({ component, fleet, proxy }));
    default:
      return [{ component }];
  }
}

/** `sluice nats auth`: seeds into a folder, and what nats-server must know of them onto stdout and beside them. */
export async function natsAuthCommand(options: NatsAuthOptions): Promise<number> {
  if (options.as !== "authorization" && options.as !== "accounts") {
    throw new ConfigError(`--as ${options.as}: write authorization or accounts`);
  }
  const form: AuthForm = options.as;
  const wanted = wantedUsers(options);
  const users = await writeCredentials(options.dir, wanted);
  const asked = new Set(wanted.map(busUserName));
  process.stdout.write(authorizationBlock(users, form));
  for (const { name, file } of users) {
    const now = asked.has(name) ? "" : ", from an earlier call";
    process.stderr.write(`  ${name}: ${join(file)}${now}\n`);
  }
  process.stderr.write(
    "Put what stdout says into nats-server's configuration, and give each process its file with --nats-nkey.\n",
  );
  return 0;
}
