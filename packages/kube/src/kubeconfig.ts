import { readFileSync, statSync } from "node:fs";
import type { RequestOptions } from "node:https";
import { dirname, resolve } from "node:path";
import { KubeconfigError } from "@sluice/contracts";
import { parse } from "yaml";

/** What a connection to one API needs. */
export interface Credentials {
  /** URL without a slash at its end. */
  readonly server: string;
  /** TLS options and headers for the next connection. Reads token files anew and runs exec plugins when due. */
  prepare(): Promise<Prepared>;
  /** Forgets what was cached: the API answered 401. */
  refresh(): void;
}

export interface Prepared {
  readonly tls: Pick<RequestOptions, "ca" | "cert" | "key" | "servername" | "rejectUnauthorized">;
  readonly headers: Readonly<Record<string, string>>;
}

type Fields = Readonly<Record<string, unknown>>;

/** Milliseconds for which a token file is believed; the kubelet rotates projected tokens long before they end. */
const TOKEN_FILE_MS = 10_000;

/**
 * Reads the kubeconfigs that hold what they need in themselves or in files, without @kubernetes/client-node: that
 * takes a second to import. Exec plugins and auth providers are left to it.
 * @throws KubeconfigError
 */
export function readKubeconfig(source: string | object, contextName?: string): Credentials {
  const path = typeof source === "string" ? source : "kubeconfig";
  let root: Fields;
  try {
    root = fields(typeof source === "string" ? parse(readFileSync(source, "utf8")) : source, path);
  } catch (error) {
    if (error instanceof KubeconfigError) throw error;
    // A parser shows the place on lines of their own; one line is what a person gets.
    const [why] = (error as Error).message.split("\n");
    throw new KubeconfigError(`${path}: ${why}`, { cause: error });
  }
  const wanted = contextName ?? string(root["current-context"]);
  if (wanted === undefined) throw new KubeconfigError(`${path}: has no current-context; add one`);
  const context = entry(root, "contexts", "context", wanted, path);
  const clusterName = string(context["cluster"]);
  if (clusterName === undefined) throw new KubeconfigError(`${path}: context ${wanted} names no cluster`);
  const cluster = entry(root, "clusters", "cluster", clusterName, path);
  const userName = string(context["user"]);
  const user = userName === undefined || userName === "" ? {} : entry(root, "users", "user", userName, path);
  const server = string(cluster["server"])?.replace(/\/+$/, "");
  if (server === undefined || !/^https?:\/\//.test(server) || !URL.canParse(server)) {
    throw new KubeconfigError(`${path}: cluster ${clusterName} has no server; write an http or https URL`);
  }
  if (cluster["proxy-url"] !== undefined) {
    throw new KubeconfigError(
      `${path}: cluster ${clusterName} has a proxy-url, which is not supported; remove it`,
    );
  }
  if (user["exec"] !== undefined || user["auth-provider"] !== undefined) {
    return pluginCredentials(path, JSON.stringify(root), wanted, server);
  }
  return plainCredentials(path, server, cluster, user);
}

function plainCredentials(path: string, server: string, cluster: Fields, user: Fields): Credentials {
  const file = (owner: Fields, name: string): Buffer | undefined => {
    const data = string(owner[`${name}-data`]);
    if (data !== undefined) return Buffer.from(data, "base64");
    const from = string(owner[name]);
    return from === undefined ? undefined : readCredential(path, from);
  };
  let prepared: { readonly value: Prepared; readonly at: number } | null = null;
  const load = (): Prepared => {
    const ca = file(cluster, "certificate-authority");
    const cert = file(user, "client-certificate");
    const key = file(user, "client-key");
    const servername = string(cluster["tls-server-name"]);
    const rejectUnauthorized = cluster["insecure-skip-tls-verify"] === true ? false : undefined;
    const tokenFile = string(user["tokenFile"]);
    const token =
      tokenFile === undefined ? string(user["token"]) : readCredential(path, tokenFile).toString().trim();
    const username = string(user["username"]);
    const headers: Record<string, string> = {};
    if (token !== undefined) headers["authorization"] = `Bearer ${token}`;
    else if (username !== undefined) {
      const basic = Buffer.from(`${username}:${string(user["password"]) ?? ""}`).toString("base64");
      headers["authorization"] = `Basic ${basic}`;
    }
    if (user["as"] !== undefined) headers["impersonate-user"] = String(user["as"]);
    return {
      tls: said({ ca, cert, key, servername, rejectUnauthorized }),
      headers,
    };
  };
  const perishable = user["tokenFile"] !== undefined;
  return {
    server,
    // `async`, so that an unreadable file rejects instead of throwing.
    prepare: async () => {
      const now = performance.now();
      if (prepared === null || (perishable && now - prepared.at > TOKEN_FILE_MS)) {
        prepared = { value: load(), at: now };
      }
      return prepared.value;
    },
    refresh: () => {
      prepared = null;
    },
  };
}

/** Without what the kubeconfig does not say. */
function said(tls: Prepared["tls"]): Prepared["tls"] {
  return Object.fromEntries(Object.entries(tls).filter(([, value]) => value !== undefined));
}

/** Through client-node, which knows exec plugins and the cloud providers; it caches a token until it expires. */
function pluginCredentials(path: string, text: string, context: string, server: string): Credentials {
  let config: Promise<{ applyToHTTPSOptions(options: RequestOptions): Promise<void> }> | null = null;
  const load = async () => {
    const { KubeConfig } = await import("@kubernetes/client-node");
    const made = new KubeConfig();
    made.loadFromString(text);
    made.setCurrentContext(context);
    return made;
  };
  return {
    server,
    prepare: async () => {
      config ??= load();
      const options: RequestOptions = {};
      try {
        await (await config).applyToHTTPSOptions(options);
      } catch (error) {
        config = null;
        throw new KubeconfigError(`${path}: ${(error as Error).message}`, { cause: error });
      }
      const { ca, cert, key, servername, rejectUnauthorized } = options;
      return {
        tls: said({ ca, cert, key, servername, rejectUnauthorized }),
        headers: Object.fromEntries(
          Object.entries(options.headers ?? {}).map(([name, value]) => [name.toLowerCase(), String(value)]),
        ),
      };
    },
    refresh: () => {
      config = null;
    },
  };
}

function readCredential(kubeconfig: string, name: string): Buffer {
  const path = resolve(dirname(kubeconfig), name);
  try {
    if (statSync(path).size > 1024 * 1024) throw new Error("larger than 1 MiB");
    return readFileSync(path);
  } catch (error) {
    throw new KubeconfigError(`${kubeconfig}: ${path}: ${(error as Error).message}`, { cause: error });
  }
}

function entry(root: Fields, list: string, key: string, name: string, path: string): Fields {
  const items: unknown = root[list];
  const found: unknown = Array.isArray(items)
    ? items.find((item: unknown) => (item as Fields | null)?.["name"] === name)
    : undefined;
  if (found === undefined)
    throw new KubeconfigError(`${path}: ${list} holds no ${JSON.stringify(name)}; add it`);
  return fields((found as Fields)[key] ?? {}, `${path}: ${list} ${name}`);
}

function fields(value: unknown, where: string): Fields {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new KubeconfigError(`${where}: not a mapping`);
  }
  return value as Fields;
}

function string(value: unknown): string | undefined {
  return typeof value === "string" && value !== "" ? value : undefined;
}
