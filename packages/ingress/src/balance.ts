import type { Balance, HashPart, SessionCookie } from "@sluice/contracts";
import type { CompiledPath } from "./compile-ingress.ts";

/** What annotations say of how an object's backends are balanced. Ages in seconds. */
export interface BalancePolicy {
  readonly method?: "round_robin" | "ewma" | "least_conn";
  readonly hashBy?: readonly HashPart[];
  readonly affinity?: "cookie";
  readonly affinityMode?: "balanced" | "persistent";
  readonly cookieName?: string;
  readonly cookieMaxAge?: number;
  readonly cookieExpires?: number;
  readonly cookiePath?: string;
  readonly cookieDomain?: string;
  readonly cookieSameSite?: "None" | "Lax" | "Strict";
  readonly cookieSecure?: boolean;
  readonly changeOnFailure?: boolean;
}

/** As in ingress-nginx. */
const COOKIE = "INGRESSCOOKIE";

/** As in ingress-nginx a session goes before a key, and a key before a method. null: by turns, as ever. */
function balanceOf(policy: BalancePolicy, path: CompiledPath): Balance | null {
  if (policy.affinity !== undefined) return { method: "cookie", cookie: cookieOf(policy, path) };
  if (policy.hashBy !== undefined) return { method: "hash", by: [...policy.hashBy] };
  const { method = "round_robin" } = policy;
  return method === "round_robin" ? null : { method };
}

function cookieOf(policy: BalancePolicy, path: CompiledPath): SessionCookie {
  const { cookieMaxAge, cookieExpires, cookieDomain, cookieSameSite, cookieSecure } = policy;
  return {
    name: policy.cookieName ?? COOKIE,
    path: policy.cookiePath ?? pathOf(path),
    ...(policy.affinityMode === "persistent" ? { persistent: true } : {}),
    ...(policy.changeOnFailure === true ? { changeOnFailure: true } : {}),
    ...(cookieMaxAge === undefined ? {} : { maxAge: cookieMaxAge }),
    ...(cookieExpires === undefined ? {} : { expires: cookieExpires }),
    ...(cookieDomain === undefined ? {} : { domain: cookieDomain }),
    ...(cookieSameSite === undefined ? {} : { sameSite: cookieSameSite }),
    ...(cookieSecure === undefined ? {} : { secure: cookieSecure }),
  };
}

/** A regular expression is no path that a browser could compare with, nor is what a cookie's attribute cannot hold. */
function pathOf({ path, regex }: CompiledPath): string {
  return regex || !/^[\x21-\x3a\x3c-\x7e]+$/.test(path) ? "/" : path;
}

/** The same paths with how their backend is balanced. */
export function balanced(paths: readonly CompiledPath[], policy: BalancePolicy): CompiledPath[] {
  return paths.map((path) => {
    const balance = balanceOf(policy, path);
    return balance === null ? path : { ...path, policy: { ...path.policy, balance } };
  });
}
