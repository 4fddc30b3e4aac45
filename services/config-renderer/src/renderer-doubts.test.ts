import assert from "node:assert/strict";
import { test } from "node:test";
import { type TopologyPeers, topologyKeys } from "@sluice/contracts";
import type { IngressClass, MultiClusterIngress, ServiceImport } from "@sluice/kube";
import { createKit } from "@sluice/service-kit";
import { Renderer } from "./renderer.ts";

const options = {
  fleet: "default",
  ingressClasses: ["nginx"],
  watchWithoutClass: false,
  publishAddresses: [],
  peers: { member1: ["10.1.0.0/16"] },
};
const key = topologyKeys.peers("shop", "web", "member1");
const row = "default.peers.shop-web.member1";
const peers: TopologyPeers = {
  namespace: "shop",
  service: "web",
  cluster: "member1",
  ports: { "": [{ address: "10.1.0.1", port: 8080 }] },
};

/** A renderer that has published one import with its peers, of which the test says whether they are in doubt. */
async function rendered(signal: AbortSignal) {
  const doubts = new Set<string>();
  const topology = {
    isDoubtful: (each: string) => doubts.has(each),
    get doubts() {
      return doubts.size;
    },
    isSettled: () => true,
    upToDate: async () => {},
    caughtUp: async () => {},
    unreadable: new Set<string>(),
  };
  const hub = {
    listed: true,
    fresh: true,
    waiting: null,
    ingresses: new Map(),
    refresh: async () => {},
  };
  const written = new Set<string>();
  const holder = {
    set: (each: string) => void written.add(each),
    remove: (each: string) => void written.delete(each),
    recheck: () => {},
    idle: async () => {},
    holding: true,
  };
  const intents = {
    get: () => undefined,
    isDoubtful: (each: string) => doubts.has(each),
    caughtUp: async () => {},
  };
  const reporter = { ingress: () => {}, verdicts: () => {} };
  const renderer = new Renderer(options, createKit({ service: "config-renderer", signal }));
  renderer.attach({
    holder,
    topology,
    hub,
    intents,
    clusters: { ...intents, upToDate: async () => {} },
    proxies: { ...intents, connected: true },
    fleet: { upToDate: async () => {} },
    reporter,
  } as unknown as Parameters<Renderer["attach"]>[0]);
  renderer.class("nginx", { metadata: { name: "nginx" } } as IngressClass);
  const metadata = { name: "web", namespace: "shop", uid: "1" };
  const spec = { type: "ClusterSetIP" as const, ports: [{ port: 80 }] };
  const imported: ServiceImport = {
    apiVersion: "multicluster.x-k8s.io/v1alpha1",
    kind: "ServiceImport",
    metadata,
    spec,
  };
  renderer.import("shop/web", imported, undefined);
  const backend = { service: { name: "web", port: { number: 80 } } };
  const rules = [{ http: { paths: [{ path: "/", pathType: "Prefix", backend }] } }];
  const ingress: MultiClusterIngress = {
    apiVersion: "networking.karmada.io/v1alpha1",
    kind: "MultiClusterIngress",
    metadata: { ...metadata, name: "shop" },
    spec: { ingressClassName: "nginx", rules },
  };
  renderer.ingress("shop/shop", ingress, undefined);
  renderer.topologyChanged(key, peers, undefined);
  const publishing = renderer.publish(signal);
  // As its holder does after each claim.
  await renderer.fresh(signal, null);
  await renderer.complete(signal);
  assert.ok(written.has(row), [...written].join(" "));
  return { renderer, doubts, written, publishing };
}

test("peers in doubt are written over nothing, also when no route asks for them any more", async () => {
  const end = new AbortController();
  const { renderer, doubts, publishing } = await rendered(end.signal);
  assert.equal(renderer.knows(row), true);
  doubts.add(key);
  assert.equal(renderer.knows(row), false);
  renderer.ingress("shop/shop", null, undefined);
  await renderer.complete(end.signal);
  assert.equal(renderer.knows(row), false);
  assert.equal(renderer.fills(row), false);
  // What becomes of them is no longer followed: that they were sure once says nothing.
  doubts.delete(key);
  assert.equal(renderer.knows(row), false);
  assert.equal(renderer.fills(row), false);
  end.abort();
  await publishing;
});

test("a part whose row is missing for doubt is whole only once there is none", async () => {
  const end = new AbortController();
  const { renderer, doubts, publishing } = await rendered(end.signal);
  assert.equal(renderer.fills(row), true);
  doubts.add(key);
  assert.equal(renderer.fills(row), false);
  let whole = false;
  const waiting = renderer.complete(end.signal).then(() => {
    whole = true;
  });
  await new Promise((resolve) => setTimeout(resolve, 150));
  assert.equal(whole, false, "readers would take the missing row for one that is gone");
  doubts.delete(key);
  await waiting;
  assert.equal(renderer.fills(row), true);
  end.abort();
  await publishing;
});

test("a part is whole only once no row that may be an older one was left alone for doubt", async () => {
  const end = new AbortController();
  const { renderer, doubts, publishing } = await rendered(end.signal);
  doubts.add(key);
  assert.equal(renderer.knows(row), false);
  let whole = false;
  const waiting = renderer.complete(end.signal).then(() => {
    whole = true;
  });
  await new Promise((resolve) => setTimeout(resolve, 150));
  assert.equal(whole, false, "readers would take the older row for what is right");
  doubts.delete(key);
  await waiting;
  end.abort();
  await publishing;
});

test("after a claim peers go that no route leads to, grace or not: the table may have older ones", async () => {
  const end = new AbortController();
  const { renderer, written, publishing } = await rendered(end.signal);
  renderer.ingress("shop/shop", null, undefined);
  await renderer.complete(end.signal);
  assert.ok(written.has(row), "requests may be on their way to them");
  assert.equal(renderer.knows(row), false);
  await renderer.fresh(end.signal, null);
  assert.ok(!written.has(row));
  assert.equal(renderer.knows(row), true);
  end.abort();
  await publishing;
});

test("a cluster of which an order is followed that the bus has lost keeps the row that it has", async () => {
  const end = new AbortController();
  const { renderer, doubts, publishing } = await rendered(end.signal);
  const cluster = "default.clusters.member1";
  assert.equal(renderer.fills(cluster), true);
  for (const order of ["drain.member1", "unjoin.member1"]) {
    doubts.add(order);
    assert.equal(renderer.knows(cluster), false);
    assert.equal(renderer.fills(cluster), false);
    doubts.delete(order);
    assert.equal(renderer.fills(cluster), true);
  }
  end.abort();
  await publishing;
});
