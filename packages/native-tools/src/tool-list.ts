import type { DebianRelease } from "./debian-release.ts";

/** A program that Sluice runs but does not ship. */
export type ToolName = "nginx" | "nats-server" | "nats-server-cluster" | "kubectl" | "wrk";

export interface ToolFacts {
  /** A path that goes before everything else, e.g. `SLUICE_NGINX=/opt/nginx/sbin/nginx`. */
  readonly env: string;
  /** Debian packages that hold the program and what it loads; libraries come by `libraryPackages`. Names differ between
   * releases: the first set that the lists know whole is taken. */
  readonly packages: readonly (readonly string[])[];
  /** Its package of a certain release, whatever runs here: by what its variable says, e.g. `SLUICE_NGINX=debian-13`. */
  readonly releases?: Readonly<Record<string, DebianRelease>>;
  /** What Go builds it from where no package is recent enough; then `packages` is empty. */
  readonly goModule?: string;
  /** Where the program lies in the unpacked packages. */
  readonly binary: string;
  readonly versionArgs: readonly string[];
  /** Its version in what `versionArgs` prints, on either stream. */
  readonly versionPattern: RegExp;
  /** Oldest that will do from PATH; Debian's package is always good enough, because it is what the tests run on. */
  readonly atLeast: readonly [major: number, minor: number];
  /** The first of which nothing is known. Absent: later ones are taken to understand what earlier ones did. */
  readonly before?: readonly [major: number, minor: number];
  /** What a person types where nothing can be fetched. */
  readonly install: string;
}

const nginxPackages = [
  "nginx",
  "libnginx-mod-http-lua",
  "libnginx-mod-http-ndk",
  "lua-resty-core",
  "lua-resty-lrucache",
  "lua-cjson",
];

/** The one list of what may be fetched. Checked against the unpacked files by ensure-tool.test.ts. */
export const toolList: Readonly<Record<ToolName, ToolFacts>> = {
  nginx: {
    env: "SLUICE_NGINX",
    packages: [
      // OpenResty's LuaJIT: Debian 12's other one, libluajit-5.1-2, lacks lua_setexdata and the module does not load.
      [...nginxPackages, "libluajit2-5.1-2"],
      // Debian 13 has OpenResty's alone, by that name.
      [...nginxPackages, "libluajit-5.1-2"],
    ],
    releases: {
      "debian-13": {
        codename: "trixie",
        packages: [
          ...nginxPackages,
          "libluajit-5.1-2",
          "libc6",
          "libcrypt1",
          "libgcc-s1",
          "libpcre2-8-0",
          "libssl3t64",
          "libzstd1",
          "zlib1g",
        ],
      },
    },
    binary: "usr/sbin/nginx",
    versionArgs: ["-v"],
    versionPattern: /(?:nginx|openresty)\/([0-9.]+)/,
    atLeast: [1, 22],
    before: [2, 0],
    install: "sudo apt-get install nginx libnginx-mod-http-lua lua-cjson",
  },
  "nats-server": {
    env: "NATS_SERVER",
    packages: [["nats-server"]],
    binary: "usr/sbin/nats-server",
    versionArgs: ["--version"],
    versionPattern: /v([0-9.]+)/,
    atLeast: [2, 9],
    install: "sudo apt-get install nats-server",
  },
  // Copies of streams need a server whose elections and repairs are right: Debian's is too old for a cluster.
  "nats-server-cluster": {
    env: "NATS_SERVER",
    packages: [],
    goModule: "github.com/nats-io/nats-server/v2@v2.12.12",
    binary: "bin/nats-server",
    versionArgs: ["--version"],
    versionPattern: /v([0-9.]+)/,
    atLeast: [2, 12],
    install:
      "Go 1.24 or later (go.dev/dl), which builds it; or nats-server 2.12 or later, named in NATS_SERVER",
  },
  kubectl: {
    env: "KUBECTL",
    packages: [["kubernetes-client"]],
    binary: "usr/bin/kubectl",
    versionArgs: ["version", "--client"],
    versionPattern: /(?:Client Version: |GitVersion:")v([0-9.]+)/,
    atLeast: [1, 27],
    install: "sudo apt-get install kubernetes-client",
  },
  wrk: {
    env: "WRK",
    packages: [
      ["wrk", "libluajit2-5.1-2"],
      ["wrk", "libluajit-5.1-2"],
    ],
    binary: "usr/bin/wrk",
    versionArgs: ["-v"],
    versionPattern: /wrk (?:debian\/)?([0-9.]+)/,
    atLeast: [4, 0],
    install: "sudo apt-get install wrk",
  },
};

/** Which Debian packages hold a library that ldd does not find; the first that the lists know is taken. */
export const libraryPackages: readonly (readonly [soname: RegExp, packages: readonly string[]])[] = [
  [/^libpcre\.so\.3$/, ["libpcre3"]],
  [/^libpcre2-8\.so\.0$/, ["libpcre2-8-0"]],
  [/^lib(ssl|crypto)\.so\.3$/, ["libssl3", "libssl3t64"]],
  [/^libcrypt\.so\.1$/, ["libcrypt1"]],
  [/^libz\.so\.1$/, ["zlib1g"]],
  [/^libzstd\.so\.1$/, ["libzstd1"]],
  [/^libluajit-5\.1\.so\.2$/, ["libluajit2-5.1-2", "libluajit-5.1-2"]],
];
