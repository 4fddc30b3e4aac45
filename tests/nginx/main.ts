// `npm run test:nginx`: what `npm test` holds on this machine's nginx holds on 1.26, as Debian 13 packages it.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { SluiceError } from "@sluice/contracts";
import { ensureTool } from "@sluice/native-tools";

const root = fileURLToPath(new URL("../..", import.meta.url));
/**
 * Where versions of nginx, of its Lua module, of OpenSSL and of PCRE differ. The others mostly wait, and prove nothing more
 * here.
 */
const files = [
  "tests/nginx/start.nginx.ts",
  ...[
    "nginx-profiles",
    "nginx-settings",
    "nginx-backends",
    "nginx-auth-url",
    "nginx-rollout",
    "nginx-tls",
    "tls-agent",
    "nginx-client-certificates",
    "nginx-http2",
    "nginx-streams",
    "nginx-routing",
    "nginx-patterns",
    "nginx-paths",
    "nginx-requests",
    "nginx-limits",
    "nginx-access",
    "nginx-access-log",
    "nginx-client-facts",
    "nginx-errors",
    "nginx-conf",
    "reload-nginx",
    "balancer",
    "limits",
    "packed-ranges",
  ].map((name) => `services/proxy-agent/src/${name}.test.ts`),
];

const controller = new AbortController();
for (const name of ["SIGINT", "SIGTERM"] as const) process.on(name, () => controller.abort(new Error(name)));
try {
  const environment = { ...process.env, SLUICE_NGINX: process.env["SLUICE_NGINX"] || "debian-13" };
  const tool = await ensureTool("nginx", {
    signal: controller.signal,
    environment,
    log: (message) => process.stderr.write(`${message}\n`),
  });
  process.stderr.write(`nginx ${tool.version}: ${tool.path}\n`);
  const child = spawn(
    process.execPath,
    [
      "--disable-warning=ExperimentalWarning",
      `--import=${join(root, "scripts/leave-at-exit.mjs")}`,
      "--test",
      "--test-concurrency=3",
      "--test-timeout=300000",
      ...process.argv.slice(2),
      ...files.map((file) => join(root, file)),
    ],
    { cwd: root, env: environment, stdio: "inherit" },
  );
  // The runner ends the files that it has begun; they end what they have started.
  controller.signal.addEventListener("abort", () => child.kill("SIGTERM"), { once: true });
  const [code] = (await once(child, "exit")) as [number | null];
  process.exitCode = code ?? 1;
} catch (error) {
  if (!(error instanceof SluiceError)) throw error;
  process.stderr.write(`npm run test:nginx: ${error.message} [${error.code}]\n`);
  process.exitCode = error.exit;
}
