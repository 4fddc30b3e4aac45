import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { KubeStatusError, KubeUnreachableError } from "@sluice/contracts";
import { connectCluster, type KubeClient } from "./client.ts";
import { recordEvent } from "./event-recorder.ts";
import type { KubeEvent } from "./objects.ts";
import { resourcePath, resources } from "./resources.ts";
import { type ScriptedApi, sendJson, sendStatus, startScriptedApi } from "./testing.ts";

const signal = AbortSignal.timeout(240_000);
const ref = { namespace: "shop", name: "web" };

async function withApi(
  answer: ScriptedApi["answer"],
  body: (client: KubeClient, api: ScriptedApi) => Promise<void>,
): Promise<void> {
  await using api = await startScriptedApi(answer);
  const client = await connectCluster({ name: "member1", kubeconfig: api.kubeconfig });
  try {
    await body(client, api);
  } finally {
    client.close();
  }
}

describe("a client", () => {
  test("answers null and false for what is not there", () =>
    withApi(
      (_request, response) => sendStatus(response, 404, "NotFound"),
      async (client) => {
        assert.equal(await client.get(resources.service, ref, signal), null);
        assert.equal(await client.delete(resources.service, ref, {}, signal), false);
        assert.equal(await client.discover("example.test/v1", "Widget", signal), null);
      },
    ));

  test("says who refused what and why", () =>
    withApi(
      (_request, response) => sendStatus(response, 409, "Conflict", "the object has been modified"),
      async (client) => {
        await assert.rejects(client.get(resources.service, ref, signal), (error) => {
          assert.ok(error instanceof KubeStatusError);
          assert.equal(error.status, 409);
          assert.equal(error.reason, "Conflict");
          assert.equal(
            error.message,
            "member1: GET /api/v1/namespaces/shop/services/web: 409 Conflict: the object has been modified",
          );
          return true;
        });
      },
    ));

  test("says of an API that is away that it is away", () =>
    withApi(
      () => {},
      async (client, api) => {
        await api.refuse();
        await assert.rejects(client.version(signal), (error) => {
          assert.ok(error instanceof KubeUnreachableError);
          assert.match(error.message, /member1 \(http:.*\): GET \/version: .*ECONNREFUSED/);
          return true;
        });
      },
    ));

  test("gives up when its caller does", () =>
    withApi(
      () => {},
      async (client, api) => {
        const giveUp = new AbortController();
        const asked = client.version(giveUp.signal);
        while (api.requests.length === 0) await new Promise((resolve) => setTimeout(resolve, 1));
        const reason = new Error("enough");
        giveUp.abort(reason);
        await assert.rejects(asked, reason);
      },
    ));

  test("asks again when the server closed a kept connection", () =>
    withApi(
      (_request, response) => sendJson(response, 200, { gitVersion: "v1.34.1" }),
      async (client, api) => {
        assert.equal(await client.version(signal), "v1.34.1");
        await api.refuse();
        await api.accept();
        assert.equal(await client.version(signal), "v1.34.1");
      },
    ));

  test("finds a kind that came later", () => {
    const served = [{ name: "widgets", kind: "Widget", namespaced: true }];
    return withApi(
      (_request, response) => sendJson(response, 200, { resources: served }),
      async (client, api) => {
        assert.equal(await client.discover("example.test/v1", "Gadget", signal), null);
        served.push({ name: "gadgets", kind: "Gadget", namespaced: false });
        const found = await client.discover("example.test/v1", "Gadget", signal);
        assert.deepEqual(found, {
          group: "example.test",
          version: "v1",
          kind: "Gadget",
          plural: "gadgets",
          namespaced: false,
        });
        await client.discover("example.test/v1", "Widget", signal);
        assert.equal(api.requests.length, 2);
      },
    );
  });

  test("starts a list over when its pages expire", () => {
    let pages = 0;
    return withApi(
      (request, response) => {
        pages += 1;
        if (pages === 2) return sendStatus(response, 410, "Expired");
        const first = !(request.url ?? "").includes("continue=");
        sendJson(response, 200, {
          metadata: { resourceVersion: "5", ...(first ? { continue: "x" } : {}) },
          items: [{ metadata: { name: first ? "a" : "b", namespace: "shop" } }],
        });
      },
      async (client) => {
        const { items, resourceVersion } = await client.list(resources.service, {}, signal);
        assert.deepEqual(
          items.map((item) => item.metadata.name),
          ["a", "b"],
        );
        assert.equal(resourceVersion, "5");
      },
    );
  });
});

test("paths are those of the core group, of groups, and percent-encoded", () => {
  assert.equal(resourcePath(resources.node, undefined, "a b"), "/api/v1/nodes/a%20b");
  assert.equal(
    resourcePath(resources.deployment, "shop", "web", "scale"),
    "/apis/apps/v1/namespaces/shop/deployments/web/scale",
  );
  assert.equal(resourcePath(resources.endpointSlice), "/apis/discovery.k8s.io/v1/endpointslices");
});

test("an Event that is said again counts up instead of becoming another", async () => {
  const stored = new Map<string, KubeEvent>();
  await withApi(
    (request, response) => {
      const chunks: Buffer[] = [];
      request.on("data", (chunk: Buffer) => chunks.push(chunk));
      request.on("end", () => {
        const name = (request.url ?? "").split("/").at(-1) ?? "";
        const body = chunks.length === 0 ? {} : (JSON.parse(Buffer.concat(chunks).toString()) as KubeEvent);
        const known = stored.get(name);
        if (request.method === "POST") stored.set((body as KubeEvent).metadata.name, body as KubeEvent);
        else if (known === undefined) return sendStatus(response, 404, "NotFound");
        else if (request.method === "PATCH") stored.set(name, { ...known, ...body });
        sendJson(response, 200, stored.get(name) ?? body);
      });
    },
    async (client) => {
      const regarding = {
        apiVersion: "v1",
        kind: "Service",
        metadata: { name: "web", namespace: "shop", uid: "u" },
      };
      const note = { regarding, type: "Warning", reason: "Wrong", component: "sluice-test" } as const;
      await recordEvent(client, { ...note, message: "one" }, signal);
      await recordEvent(client, { ...note, message: "one" }, signal);
      await recordEvent(client, { ...note, message: "x".repeat(2000) }, signal);
    },
  );
  const events = [...stored.values()];
  assert.deepEqual(
    events.map((event) => event.count),
    [2, 1],
  );
  assert.equal(events[0]?.involvedObject.name, "web");
  assert.equal(events[1]?.message?.length, 1024);
});
