import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** An HTTP server that a test scripts by hand, with a kubeconfig that leads to it. */
export interface ScriptedApi extends AsyncDisposable {
  readonly url: string;
  /** Path of a kubeconfig file. */
  readonly kubeconfig: string;
  /** Requests so far, as `GET /api/v1/pods?…`. */
  readonly requests: readonly string[];
  /** Answers every request from here on. */
  answer: (request: IncomingMessage, response: ServerResponse) => void;
  /** Cuts every connection and refuses new ones. */
  refuse(): Promise<void>;
  /** Listens again, on the same port. */
  accept(): Promise<void>;
}

export async function startScriptedApi(
  answer: ScriptedApi["answer"] = (_request, response) => sendStatus(response, 404, "NotFound"),
): Promise<ScriptedApi> {
  const folder = mkdtempSync(join(tmpdir(), "sluice-kube-"));
  const requests: string[] = [];
  let server: Server | null = null;
  const api = { answer };
  const listen = async (port: number): Promise<number> => {
    const made = createServer((request, response) => {
      requests.push(`${request.method} ${request.url}`);
      api.answer(request, response);
    });
    await new Promise<void>((resolve, reject) => {
      made.once("error", reject);
      made.listen(port, "127.0.0.1", resolve);
    });
    server = made;
    return (made.address() as AddressInfo).port;
  };
  const refuse = async (): Promise<void> => {
    const ending = server;
    server = null;
    if (ending === null) return;
    ending.closeAllConnections();
    await new Promise<void>((resolve) => ending.close(() => resolve()));
  };
  const port = await listen(0);
  const url = `http://127.0.0.1:${port}`;
  const kubeconfig = join(folder, "kubeconfig");
  writeFileSync(kubeconfig, kubeconfigText(url));
  return Object.assign(api, {
    url,
    kubeconfig,
    requests,
    refuse,
    accept: async () => {
      await listen(port);
    },
    async [Symbol.asyncDispose]() {
      await refuse();
      rmSync(folder, { recursive: true });
    },
  });
}

/** A kubeconfig without credentials; JSON is YAML. */
export function kubeconfigText(server: string, user: object = {}, cluster: object = {}): string {
  return JSON.stringify({
    apiVersion: "v1",
    kind: "Config",
    "current-context": "test",
    contexts: [{ name: "test", context: { cluster: "test", user: "test" } }],
    clusters: [{ name: "test", cluster: { server, ...cluster } }],
    users: [{ name: "test", user }],
  });
}

export function sendJson(response: ServerResponse, status: number, body: unknown): void {
  response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(body));
}

export function sendStatus(response: ServerResponse, code: number, reason: string, message = reason): void {
  sendJson(response, code, { kind: "Status", apiVersion: "v1", status: "Failure", code, reason, message });
}
