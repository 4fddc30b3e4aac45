import { renderNginx } from "@sluice/proxy-agent/testing";

type NginxOptions = Parameters<typeof renderNginx>[0];
type Profiles = Parameters<typeof renderNginx>[1];
type Settings = Profiles extends ReadonlyMap<string, infer S> ? S : never;

/** What every simulated nginx was prepared with. */
export const simNginxPlan: NginxOptions = {
  dir: "/run/simulated",
  tool: {
    path: "nginx",
    version: "1.26.0",
    env: {},
    modules: { loadModules: [], luaPackagePath: "", luaPackageCpath: "" },
  },
  httpAddress: "192.0.2.10:80",
  workers: 1,
  firstByteTimeoutMs: 0,
};

const hashes = new Map<string, string>();

/** What a configuration with these profiles hashes to. */
export function simNginxConfig(profiles: Profiles): string {
  const names = [...profiles.keys()].join();
  const hash = hashes.get(names) ?? renderNginx(simNginxPlan, profiles).hash;
  hashes.set(names, hash);
  return hash;
}

/** Read timeouts from here on are such that a simulated nginx does not survive them, seconds. */
export const BREAKS_FROM = 1000;

export function breaks({ readTimeoutMs }: Settings): boolean {
  return readTimeoutMs >= BREAKS_FROM * 1000;
}
