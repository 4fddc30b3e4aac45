import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, test } from "node:test";
import { KubeconfigError } from "@sluice/contracts";
import { readKubeconfig } from "./kubeconfig.ts";
import { kubeconfigText } from "./testing.ts";

const folder = mkdtempSync(join(tmpdir(), "sluice-kubeconfig-"));
after(() => rmSync(folder, { recursive: true }));

function file(text: string, name = "config"): string {
  const path = join(folder, name);
  writeFileSync(path, text);
  return path;
}

function config(user: object = {}, cluster: object = {}): object {
  return JSON.parse(kubeconfigText("https://api.example.test:6443/", user, cluster)) as object;
}

describe("a kubeconfig", () => {
  test("gives certificates and names from data or from files beside it", async () => {
    file("the ca", "ca.crt");
    const path = file(
      kubeconfigText(
        "https://api.example.test",
        {
          "client-certificate-data": Buffer.from("cert").toString("base64"),
          "client-key-data": Buffer.from("key").toString("base64"),
        },
        { "certificate-authority": "ca.crt", "tls-server-name": "other.example.test" },
      ),
    );
    const { tls } = await readKubeconfig(path).prepare();
    assert.equal(String(tls.ca), "the ca");
    assert.equal(String(tls.cert), "cert");
    assert.equal(String(tls.key), "key");
    assert.equal(tls.servername, "other.example.test");
  });

  test("gives a token, and a token file's newer token after a refusal", async () => {
    const { headers } = await readKubeconfig(config({ token: "abc" })).prepare();
    assert.equal(headers["authorization"], "Bearer abc");
    const tokenFile = file("one\n", "token");
    const credentials = readKubeconfig(config({ tokenFile }));
    assert.equal((await credentials.prepare()).headers["authorization"], "Bearer one");
    file("two\n", "token");
    credentials.refresh();
    assert.equal((await credentials.prepare()).headers["authorization"], "Bearer two");
  });

  test("runs an exec plugin, and again after a refusal", async () => {
    const counter = file("", "runs");
    const script = `printf x >> '${counter}'; printf '{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential","status":{"token":"t%s"}}' "$(wc -c < '${counter}' | tr -d ' ')"`;
    const exec = { apiVersion: "client.authentication.k8s.io/v1", command: "/bin/sh", args: ["-c", script] };
    const credentials = readKubeconfig(config({ exec: { ...exec, interactiveMode: "Never" } }));
    assert.equal((await credentials.prepare()).headers["authorization"], "Bearer t1");
    assert.equal((await credentials.prepare()).headers["authorization"], "Bearer t1");
    credentials.refresh();
    assert.equal((await credentials.prepare()).headers["authorization"], "Bearer t2");
  });

  const wrong: Record<string, [source: string | object, message: RegExp]> = {
    "that is not there": [join(folder, "missing"), /missing.*ENOENT/],
    "that is no mapping": [file("- a\n", "list"), /not a mapping/],
    "without a current context": [{ contexts: [] }, /current-context/],
    "whose context is missing": [{ "current-context": "x", contexts: [] }, /contexts holds no "x"/],
    "whose server is no URL": [JSON.parse(kubeconfigText("api.example.test")) as object, /http or https URL/],
    "with a proxy": [config({}, { "proxy-url": "http://proxy.example.test" }), /proxy-url/],
  };
  for (const [what, [source, message]] of Object.entries(wrong)) {
    test(`${what} is refused with what to do`, () => {
      assert.throws(
        () => readKubeconfig(source),
        (error) => error instanceof KubeconfigError && message.test(error.message),
      );
    });
  }
});
