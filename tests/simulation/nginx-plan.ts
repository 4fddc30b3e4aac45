import { renderNginx } from "@sluice/proxy-agent/testing";

type NginxOptions = Parameters<typeof renderNginx>[0];

let plan: { readonly options: NginxOptions; readonly hash: string } | null = null;

/** What every simulated nginx was prepared with, and what its configuration hashes to with the default profile alone. */
export function simNginxPlan(): { readonly options: NginxOptions; readonly hash: string } {
  if (plan === null) {
    const options: NginxOptions = {
      dir: "/run/simulated",
      tool: { path: "nginx", env: {}, modules: { loadModules: [], luaPackagePath: "", luaPackageCpath: "" } },
      httpAddress: "192.0.2.10:80",
      workers: 1,
      firstByteTimeoutMs: 0,
    };
    plan = { options, hash: renderNginx(options, new Map()).hash };
  }
  return plan;
}
