import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { before, type TestContext, test } from "node:test";
import { stringify } from "yaml";
import { type SandboxCluster, startCluster } from "./cluster.ts";
import { deployment, gadget, gadgetDefinition, service } from "./trial-cluster.ts";

interface Ran {
  code: number;
  out: string;
  err: string;
}

interface Bench {
  cluster: SandboxCluster;
  /** Runs kubectl; `input` goes to its stdin. */
  kubectl(args: string[], input?: unknown): Promise<Ran>;
  environment: NodeJS.ProcessEnv;
}

let program = { path: "kubectl", version: "", env: {} as Readonly<Record<string, string>> };

before(async () => {
  // KUBECTL, or the one on PATH when it is recent enough, else Debian's, unpacked into the cache.
  const { ensureTool } = await import("@sluice/native-tools");
  program = await ensureTool("kubectl", { signal: AbortSignal.timeout(120_000) });
});

async function startBench(t: TestContext): Promise<Bench> {
  t.diagnostic(`kubectl ${program.version} at ${program.path}`);
  const cluster = await startCluster({ name: "trial" });
  t.after(() => cluster.close());
  const folder = await mkdtemp(join(tmpdir(), "sandbox-kubectl-"));
  t.after(() => rm(folder, { recursive: true, force: true }));
  const kubeconfig = join(folder, "config");
  await writeFile(kubeconfig, stringify(cluster.kubeconfig()), { mode: 0o600 });
  // HOME holds kubectl's discovery cache: one per cluster, or it would remember another test's resources.
  const environment = { ...process.env, ...program.env, KUBECONFIG: kubeconfig, HOME: folder };
  const kubectl = (args: string[], input?: unknown) =>
    new Promise<Ran>((resolve) => {
      const child = execFile(
        program.path,
        args,
        { env: environment, timeout: 120_000 },
        (error, out, err) => {
          resolve({ code: error === null ? 0 : Number(error.code ?? 1), out, err });
        },
      );
      child.stdin?.end(input === undefined ? "" : JSON.stringify(input));
    });
  return { cluster, kubectl, environment };
}

async function succeed(run: Promise<Ran>): Promise<string> {
  const { code, out, err } = await run;
  assert.equal(code, 0, err);
  return out;
}

test("kubectl applies, re-applies, changes and deletes", async (t) => {
  const { kubectl } = await startBench(t);
  assert.match(
    await succeed(kubectl(["apply", "-f", "-"], deployment("echo", 1))),
    /deployment\.apps\/echo created/,
  );
  assert.match(await succeed(kubectl(["apply", "-f", "-"], deployment("echo", 1))), /unchanged/);
  assert.match(await succeed(kubectl(["apply", "-f", "-"], deployment("echo", 2, "echo:2"))), /configured/);
  const image = [
    "get",
    "deploy",
    "echo",
    "-o",
    "jsonpath={.spec.replicas} {.spec.template.spec.containers[*].image}",
  ];
  assert.equal(await succeed(kubectl(image)), "2 echo:2");
  // replicas leaves the manifest: the three-way patch takes it away, and the default comes back.
  await succeed(kubectl(["apply", "-f", "-"], deployment("echo")));
  assert.equal(await succeed(kubectl(image)), "1 echo:1");
  assert.match(await succeed(kubectl(["delete", "deploy", "echo"])), /deleted/);
  const { code, err } = await kubectl(["get", "deploy", "echo"]);
  assert.equal(code, 1);
  assert.match(err, /Error from server \(NotFound\): deployments\.apps "echo" not found/);
});

test("kubectl applies on the server's side and is told whose field it is", async (t) => {
  const { kubectl } = await startBench(t);
  const serverSide = ["apply", "--server-side", "-f", "-"];
  assert.match(await succeed(kubectl(serverSide, deployment("echo", 1))), /serverside-applied/);
  const refused = await kubectl([...serverSide, "--field-manager=other"], deployment("echo", 2));
  assert.equal(refused.code, 1);
  assert.match(refused.err, /conflict with "kubectl": \.spec\.replicas/);
  await succeed(
    kubectl([...serverSide, "--field-manager=other", "--force-conflicts"], deployment("echo", 2)),
  );
});

test("kubectl moves from client-side to server-side apply without a conflict", async (t) => {
  const { kubectl } = await startBench(t);
  await succeed(kubectl(["apply", "-f", "-"], deployment("echo", 1)));
  await succeed(kubectl(["apply", "--server-side", "-f", "-"], deployment("echo", 3)));
  assert.equal(await succeed(kubectl(["get", "deploy", "echo", "-o", "jsonpath={.spec.replicas}"])), "3");
});

test("kubectl scales, patches, replaces, labels and describes", async (t) => {
  const { kubectl } = await startBench(t);
  await succeed(kubectl(["create", "-f", "-"], deployment("echo", 1)));
  await succeed(kubectl(["create", "-f", "-"], service("echo")));
  assert.match(await succeed(kubectl(["scale", "deploy/echo", "--replicas=3"])), /scaled/);
  await succeed(kubectl(["patch", "svc", "echo", "-p", '{"spec":{"ports":[{"port":81,"name":"more"}]}}']));
  await succeed(
    kubectl(["patch", "svc", "echo", "--type=json", "-p", '[{"op":"remove","path":"/spec/ports/0"}]']),
  );
  await succeed(
    kubectl(["patch", "svc", "echo", "--type=merge", "-p", '{"metadata":{"labels":{"tier":"front"}}}']),
  );
  assert.match(
    await succeed(kubectl(["get", "svc", "-l", "tier=front"])),
    /echo\s+ClusterIP\s+10\.96\.\d+\.\d+\s+<none>\s+81\/TCP/,
  );
  const current: unknown = JSON.parse(await succeed(kubectl(["get", "svc", "echo", "-o", "json"])));
  assert.match(await succeed(kubectl(["replace", "-f", "-"], current)), /replaced/);
  await succeed(kubectl(["label", "deploy", "echo", "tier=back"]));
  await succeed(kubectl(["set", "image", "deploy/echo", "main=echo:9"]));
  const uid = await succeed(kubectl(["get", "deploy", "echo", "-o", "jsonpath={.metadata.uid}"]));
  const event = {
    apiVersion: "v1",
    kind: "Event",
    metadata: { name: "echo.1", namespace: "default" },
    involvedObject: { kind: "Deployment", name: "echo", namespace: "default", uid },
    reason: "Tried",
    message: "it was tried",
    type: "Normal",
  };
  await succeed(kubectl(["create", "-f", "-"], event));
  const described = await succeed(kubectl(["describe", "deploy", "echo"]));
  assert.match(described, /Image:\s+echo:9/);
  assert.match(described, /Tried.*it was tried/);
  assert.match(
    await succeed(kubectl(["get", "deploy", "-o", "wide"])),
    /echo\s+0\/3\s+0\s+0\s+\d+s\s+main\s+echo:9\s+app=echo/,
  );
});

test("kubectl makes things by name alone", async (t) => {
  const { kubectl } = await startBench(t);
  await succeed(kubectl(["create", "namespace", "shop"]));
  await succeed(
    kubectl(["create", "deployment", "web", "-n", "shop", "--image=echo:1", "--replicas=2", "--port=8080"]),
  );
  await succeed(kubectl(["create", "service", "clusterip", "web", "-n", "shop", "--tcp=80:8080"]));
  await succeed(kubectl(["create", "configmap", "settings", "-n", "shop", "--from-literal=color=grey"]));
  await succeed(kubectl(["create", "secret", "generic", "key", "-n", "shop", "--from-literal=word=open"]));
  await succeed(kubectl(["expose", "deployment", "web", "-n", "shop", "--name=web2", "--port=81"]));
  assert.equal(
    await succeed(
      kubectl(["get", "deploy", "web", "-n", "shop", "-o", "jsonpath={.spec.replicas} {..containerPort}"]),
    ),
    "2 8080",
  );
  assert.equal(
    await succeed(
      kubectl([
        "get",
        "svc",
        "web",
        "-n",
        "shop",
        "-o",
        "jsonpath={.spec.ports[0].port} {.spec.ports[0].targetPort}",
      ]),
    ),
    "80 8080",
  );
  assert.equal(
    await succeed(kubectl(["get", "cm", "settings", "-n", "shop", "-o", "jsonpath={.data.color}"])),
    "grey",
  );
  assert.equal(
    await succeed(kubectl(["get", "secret", "key", "-n", "shop", "-o", "jsonpath={.data.word}"])),
    "b3Blbg==",
  );
  await succeed(kubectl(["delete", "namespace", "shop"]));
});

test("kubectl finds a custom resource, waits for it, explains it and is told what is wrong with an object", async (t) => {
  const { kubectl } = await startBench(t);
  await succeed(kubectl(["apply", "-f", "-"], gadgetDefinition));
  const wait = ["wait", "--for=condition=Established", "crd/gadgets.example.test", "--timeout=60s"];
  assert.match(await succeed(kubectl(wait)), /condition met/);
  assert.match(
    await succeed(kubectl(["api-resources", "--api-group=example.test"])),
    /gadgets\s+gd\s+example\.test\/v1/,
  );
  await succeed(kubectl(["apply", "-f", "-"], gadget("one", { size: "small" })));
  await succeed(kubectl(["scale", "gadget/one", "--replicas=2"]));
  assert.match(await succeed(kubectl(["get", "gd"])), /NAME\s+SIZE\s+READY\n\s*one\s+small/);
  assert.match(await succeed(kubectl(["explain", "gadget.spec"])), /size\s+<string> -required-/);
  const unknown = await kubectl(["apply", "-f", "-"], gadget("two", { size: "small", sise: 1 }));
  assert.match(unknown.err, /strict decoding error: unknown field "spec\.sise"/);
  const wrong = await kubectl(["apply", "-f", "-"], gadget("two", { size: "huge" }));
  assert.match(wrong.err, /spec\.size: Unsupported value: "huge": supported values: "small", "large"/);
});

test("kubectl explains built-in kinds", async (t) => {
  const { kubectl } = await startBench(t);
  assert.match(
    await succeed(kubectl(["explain", "deployment.spec"])),
    /replicas\s+<integer>\s+How many pods are wanted/,
  );
  assert.match(
    await succeed(kubectl(["explain", "service", "--recursive"])),
    /targetPort\s+<IntOrString>|targetPort/,
  );
});

test("kubectl watches: every change is a row", async (t) => {
  const { kubectl, environment } = await startBench(t);
  const child = spawn(program.path, ["get", "svc", "-w"], {
    env: environment,
    stdio: ["ignore", "pipe", "inherit"],
  });
  t.after(() => child.kill());
  let out = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    out += text;
  });
  await succeed(kubectl(["apply", "-f", "-"], service("echo", 80)));
  await t.waitFor(() => assert.match(out, /echo .*80\/TCP/), { timeout: 60_000 });
  await succeed(kubectl(["apply", "-f", "-"], service("echo", 81)));
  await t.waitFor(() => assert.match(out, /echo .*81\/TCP/), { timeout: 60_000 });
});

test("kubectl waits for a deletion and for a field", async (t) => {
  const { kubectl } = await startBench(t);
  await succeed(
    kubectl(["apply", "-f", "-"], {
      ...service("echo"),
      metadata: { name: "echo", finalizers: ["example.test/hold"] },
    }),
  );
  const gone = kubectl(["delete", "svc", "echo", "--timeout=60s"]);
  await succeed(kubectl(["wait", "svc/echo", "--for=jsonpath={.spec.type}=ClusterIP", "--timeout=60s"]));
  await t.waitFor(
    async () => {
      const found = await succeed(
        kubectl(["get", "svc", "echo", "-o", "jsonpath={.metadata.deletionTimestamp}"]),
      );
      assert.notEqual(found, "");
    },
    { timeout: 60_000, interval: 200 },
  );
  await succeed(kubectl(["patch", "svc", "echo", "--type=merge", "-p", '{"metadata":{"finalizers":null}}']));
  await succeed(gone);
});
