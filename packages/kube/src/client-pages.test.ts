import assert from "node:assert/strict";
import { test } from "node:test";
import { connectCluster, type ListPage, type PageOptions } from "./client.ts";
import type { Service } from "./objects.ts";
import { resources } from "./resources.ts";
import { startScriptedApi } from "./testing.ts";

const limit = AbortSignal.timeout(240_000);

interface Listed {
  readonly pages: readonly ListPage<Service>[];
  /** How many objects each page was to have at most, and its bytes. */
  readonly asked: readonly (readonly [limit: number, bytes: number])[];
}

/** Reads a list of so many objects, each of which weighs what it is told to, from a server that keeps to `limit`. */
async function listed(
  objects: number,
  bytesOf: (n: number) => number,
  options: PageOptions,
): Promise<Listed> {
  const items = Array.from({ length: objects }, (_, n) => ({
    metadata: { name: `s${n}`, namespace: "shop", annotations: { note: "x".repeat(bytesOf(n)) } },
  }));
  const asked: (readonly [number, number])[] = [];
  await using api = await startScriptedApi((request, response) => {
    const { searchParams } = new URL(request.url ?? "", "http://api");
    const from = Number(searchParams.get("continue") ?? 0);
    const most = Number(searchParams.get("limit"));
    const end = from + most;
    const metadata = { resourceVersion: "7", ...(end < objects ? { continue: String(end) } : {}) };
    const text = JSON.stringify({ metadata, items: items.slice(from, end) });
    asked.push([most, text.length]);
    response.writeHead(200, { "content-type": "application/json" }).end(text);
  });
  const client = await connectCluster({ name: "member1", kubeconfig: api.kubeconfig });
  const pages: ListPage<Service>[] = [];
  for await (const page of client.pages(resources.service, options, limit)) pages.push(page);
  client.close();
  return { pages, asked };
}

const names = (pages: Listed["pages"]) =>
  pages.flatMap(({ items }) => items.map((item) => item.metadata.name));

test("a list of light objects comes in few pages, of which the first may be one object", async () => {
  const { pages, asked } = await listed(3000, () => 100, { first: 1 });
  assert.deepEqual(
    asked.map(([most]) => most),
    [1, 100, 400, 1000, 1000, 1000],
  );
  assert.equal(new Set(names(pages)).size, 3000);
  assert.deepEqual(
    pages.map(({ first, last }) => [first, last]),
    pages.map((_, n) => [n === 0, n === pages.length - 1]),
  );
  assert.ok(pages.every(({ resourceVersion }) => resourceVersion === "7"));
});

test("however heavy objects are, and become, a page is about half a mebibyte", async () => {
  const { pages, asked } = await listed(600, (n) => (n < 300 ? 20_000 : 60_000), { first: 1 });
  assert.equal(names(pages).length, 600);
  const bytes = asked.map(([, size]) => size);
  // Two pages are asked for by what objects weighed before they became three times as heavy.
  assert.ok(Math.max(...bytes) < 3.1 * 512 * 1024, `${Math.max(...bytes)}`);
  assert.ok(bytes.filter((size) => size > 600 * 1024).length <= 2, bytes.join(" "));
});

test("an object that is heavier than a page is a page", async () => {
  const { pages, asked } = await listed(5, () => 700_000, { first: 1 });
  assert.equal(names(pages).length, 5);
  assert.deepEqual(
    asked.map(([most]) => most),
    [1, 1, 1, 1, 1],
  );
});

test("the server makes one page, and no more, while the one before is being dealt with", async () => {
  await using api = await startScriptedApi((request, response) => {
    const token = new URL(request.url ?? "", "http://api").searchParams.get("continue") ?? "0";
    const metadata = { resourceVersion: "7", continue: String(Number(token) + 1) };
    const items = [{ metadata: { name: `s${token}`, namespace: "shop" } }];
    response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify({ metadata, items }));
  });
  const client = await connectCluster({ name: "member1", kubeconfig: api.kubeconfig });
  const stop = new AbortController();
  const pages = client.pages(resources.service, {}, stop.signal);
  await pages.next();
  while (api.requests.length < 2) await new Promise((resolve) => setTimeout(resolve, 1));
  await pages.next();
  while (api.requests.length < 3) await new Promise((resolve) => setTimeout(resolve, 1));
  for (let turns = 0; turns < 20; turns++) await new Promise((resolve) => setImmediate(resolve));
  assert.equal(api.requests.length, 3);
  // The page that nobody wants any more is nobody's failure.
  stop.abort(new Error("over"));
  await pages.return();
  client.close();
});
