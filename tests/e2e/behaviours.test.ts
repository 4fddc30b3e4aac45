import assert from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { type Bus, connectBus, type PartHolder } from "@sluice/bus";
import {
  clustersTable,
  fleetTable,
  plainKeys,
  type SliceValue,
  sliceKeys,
  slicesTable,
  verdictsTable,
} from "@sluice/contracts";
import {
  type EndpointSlice,
  type KubeObject,
  resources,
  type Service,
  type ServiceImport,
} from "@sluice/kube";
import { type TrialCertificate, trialAuthority, trialCertificate } from "@sluice/native-tools/testing";
import { createKit } from "@sluice/service-kit";
import { type StartedWorld, startedWorld } from "../world/started-world.ts";
import { getByTls } from "../world/tls-requests.ts";
import { eventually, propagateCrds, Scenario } from "./scenario.ts";

// One world for all: each behaviour has a namespace of its own, and what one does to its objects must not show in another.

const over = new AbortController();
const { signal } = over;
let world: StartedWorld;

before(async () => {
  const tls = ["--default-ssl-certificate", "tls/default"];
  world = await startedWorld(["--empty", "--members", "2", ...tls], signal);
  await propagateCrds(world, ["member1", "member2"], signal);
});
after(async () => {
  await world?.stop();
  over.abort();
});

/** A member that publishes what it likes, with the credentials that its watcher has. */
function rogueMember(bus: Bus, namespace: string, service: string, address: string): PartHolder<SliceValue> {
  const cluster = "rogue";
  const holder = bus.hold(slicesTable, { scope: cluster, shard: "0" }, { fresh: async () => {} });
  const port = { name: "", port: 81, protocol: "TCP" as const };
  const now = Date.now();
  bus.writer(clustersTable).set(plainKeys.cluster(cluster), {
    cluster,
    heartbeatAt: now,
    api: { reachable: true, since: now },
    labels: {},
    nodeCidrs: ["169.254.0.0/16", "0.0.0.0/0"],
    waiting: [],
    exports: 1,
    watcher: bus.self,
  });
  holder.set(sliceKeys.export(cluster, namespace, service), {
    cluster,
    namespace,
    service,
    createdAt: now,
    type: "ClusterSetIP",
    ipFamilies: ["IPv4"],
    ports: [port],
  });
  holder.set(sliceKeys.slice(cluster, namespace, service, "evil"), {
    cluster,
    namespace,
    service,
    slice: "evil",
    addressType: "IPv4",
    ports: [{ ...port, port: 80 }],
    endpoints: [{ addresses: [address], ready: true, serving: true, terminating: false }],
  });
  return holder;
}

const scenario = (namespace: string) => Scenario.in(world, namespace, signal);

test("an export in member1 becomes one endpoint under the derived service, and answers", async () => {
  const s = await scenario("e1");
  await s.applyAll(s.serviceObjects({ name: "cart", clusters: ["member1"] }));
  await s.answeredBy("cart", ["member1"], 1);
  const derived = await eventually("derived-cart", () =>
    s.hub.get<Service>(resources.service, { namespace: "e1", name: "derived-cart" }, signal),
  );
  assert.equal(derived.spec?.ports?.[0]?.port, 81);
  const endpoints = await eventually("one endpoint", async () => {
    const found = await s.derivedEndpoints("cart");
    return found.length === 1 ? found : false;
  });
  assert.match(endpoints[0] ?? "", /^127\.11\./);
  const status = await eventually("status.clusters", async () => {
    const object = await s.hub.get<ServiceImport>(
      resources.serviceImport,
      { namespace: "e1", name: "cart" },
      signal,
    );
    return object?.status?.clusters?.length === 1 ? object.status.clusters : false;
  });
  assert.deepEqual(
    status.map(({ cluster }) => cluster),
    ["member1"],
  );
  await eventually("status.loadBalancer", async () => {
    const object = await s.hub.get(resources.multiClusterIngress, { namespace: "e1", name: "cart" }, signal);
    return object?.status?.loadBalancer?.ingress?.[0]?.ip === "127.0.0.1";
  });
  await eventually(
    "the export's conditions",
    async () => (await s.exportCondition("member1", "cart", "Valid"))?.status === "True",
  );
});

test("the objects in many random orders end in the same state", async () => {
  const orders = 6;
  const seen: string[] = [];
  for (let order = 0; order < orders; order++) {
    const s = await scenario(`e2-${order}`);
    const objects = s.serviceObjects({ name: "cart", clusters: ["member1", "member2"] });
    // A seeded shuffle, so that a failing order can be run again.
    let random = 7919 * (order + 1);
    const next = () => {
      random = (random * 48271) % 2147483647;
      return random / 2147483647;
    };
    const shuffled = objects.map((object) => ({ object, at: next() })).toSorted((a, b) => a.at - b.at);
    await s.applyAll(shuffled.map(({ object }) => object));
    const pods = await s.answeredBy("cart", ["member1", "member2"], 2);
    const endpoints = await eventually("both endpoints in the hub", async () => {
      const found = await s.derivedEndpoints("cart");
      return found.length === 2 ? found : false;
    });
    seen.push(
      `${pods.size} pods, endpoints in ${endpoints.map((address) => address.split(".").slice(0, 2).join(".")).join(" ")}`,
    );
  }
  assert.equal(new Set(seen).size, 1, seen.join("; "));
});

test("replicas 1, 2, 0, 1: as many pods answer, and 503 while there are none", async () => {
  const s = await scenario("e3");
  await s.applyAll(s.serviceObjects({ name: "cart", clusters: ["member1"] }));
  await s.answeredBy("cart", ["member1"], 1);
  await s.scale("member1", "cart", 2);
  await s.answeredBy("cart", ["member1"], 2);
  await s.scale("member1", "cart", 0);
  await eventually("503", async () => (await s.get()).status === 503);
  await s.scale("member1", "cart", 1);
  await eventually("200 again", async () => (await s.get()).status === 200);
  await s.answeredBy("cart", ["member1"], 1);
});

test("when an export is deleted only its peers go", async () => {
  const s = await scenario("e4");
  await s.applyAll(s.serviceObjects({ name: "cart", clusters: ["member1", "member2"] }));
  await s.answeredBy("cart", ["member1", "member2"], 2);
  const ref = { namespace: "e4", name: "cart" };
  // The policy no longer selects member1, so that the export is not brought back there.
  await s.apply(
    s.policy(
      "cart-export",
      ["member2"],
      [{ apiVersion: "multicluster.x-k8s.io/v1alpha1", kind: "ServiceExport", name: "cart" }],
    ),
  );
  await eventually(
    "withdrawn",
    async () => (await world.cluster("member1").get(resources.serviceExport, ref, signal)) === null,
  );
  await s.answeredBy("cart", ["member2"]);
  await eventually("one endpoint in the hub", async () => {
    const found = await s.derivedEndpoints("cart");
    return found.length === 1 && found[0]?.startsWith("127.12.") === true;
  });
});

test("both members export, both serve", async () => {
  const s = await scenario("e5");
  await s.applyAll(s.serviceObjects({ name: "cart", clusters: ["member1", "member2"], replicas: 2 }));
  await s.answeredBy("cart", ["member1", "member2"], 4);
});

test("an endpoint that is not ready gets no new request", async () => {
  const s = await scenario("e6");
  await s.applyAll(s.serviceObjects({ name: "cart", clusters: ["member1"], replicas: 2 }));
  const pods = [...(await s.answeredBy("cart", ["member1"], 2))];
  const unready = pods[0] ?? "";
  const patch = { metadata: { annotations: { "sandbox.sluice.dev/ready": "false" } } };
  await world
    .cluster("member1")
    .mergePatch(resources.pod, { namespace: "e6", name: unready }, patch, {}, signal);
  await eventually("only the other answers", async () => {
    const seen = await s.answering(16);
    return seen.size === 1 && !seen.has(unready);
  });
  for (let round = 0; round < 5; round++) assert.ok(!(await s.answering(10)).has(unready));
});

test("an ingress that names a missing service answers 503 and an Event says why, while every other route works", async () => {
  const s = await scenario("e9");
  await s.applyAll(s.serviceObjects({ name: "cart", clusters: ["member1"] }));
  await s.apply(s.ingressObject("lost", "nowhere", "/lost"));
  await s.answeredBy("cart", ["member1"], 1);
  await eventually("503", async () => (await s.get("/lost")).status === 503);
  const event = await eventually(
    "an Event",
    async () => (await s.eventsOn("MultiClusterIngress", "lost"))[0] ?? false,
  );
  assert.match(event.message ?? "", /nowhere/);
  assert.equal((await s.get("/")).status, 200);
});

test("an import whose port name matches no slice port says so in an Event", async () => {
  const s = await scenario("e10");
  const objects = s.serviceObjects({ name: "cart", clusters: ["member1"] });
  await s.applyAll(objects.filter(({ kind }) => kind !== "ServiceImport"));
  await s.apply(s.importObject("cart", { name: "metrics", port: 81, protocol: "TCP" }));
  const event = await eventually(
    "an Event",
    async () => (await s.eventsOn("ServiceImport", "cart"))[0] ?? false,
  );
  assert.match(event.message ?? "", /metrics/);
});

test("a 56-character service name is refused with a condition, not a crash", async () => {
  const s = await scenario("e11");
  const name = "a".repeat(56);
  await s.applyAll([
    ...s.workloadObjects({ name, clusters: ["member1"] }),
    ...s.exportObjects(name, ["member1"]),
    s.importObject(name),
  ]);
  const condition = await eventually("a condition", async () => {
    const found = await s.exportCondition("member1", name, "Valid");
    return found?.reason === "NameTooLong" ? found : false;
  });
  assert.equal(condition.status, "False");
  assert.match(condition.message ?? "", /63 characters/);
  const fine = "b".repeat(55);
  await s.applyAll(s.serviceObjects({ name: fine, clusters: ["member1"] }));
  await s.answeredBy(fine, ["member1"], 1);
});

test("an object named derived-cart that somebody else made is left alone and reported", async () => {
  const s = await scenario("e12");
  const foreign = s.object("v1", "Service", "derived-cart", {
    spec: { ports: [{ port: 9999 }], selector: { app: "theirs" } },
  });
  await s.apply(foreign);
  await s.applyAll(s.serviceObjects({ name: "cart", clusters: ["member1"] }));
  const event = await eventually("an Event that says so", async () => {
    const events = await s.eventsOn("ServiceImport", "cart");
    return events.find(({ reason }) => reason === "DerivedServiceTaken") ?? false;
  });
  assert.match(event.message ?? "", /derived-cart/);
  const theirs = await s.hub.get<Service>(
    resources.service,
    { namespace: "e12", name: "derived-cart" },
    signal,
  );
  assert.deepEqual(theirs?.spec?.selector, { app: "theirs" });
  assert.deepEqual(
    theirs?.spec?.ports?.map(({ port }) => port),
    [9999],
  );
  // Traffic does not need the derived service.
  await s.answeredBy("cart", ["member1"], 1);
  await s.delete("v1", "Service", "derived-cart");
  await eventually("taken over once it is free", async () => {
    const now = await s.hub.get<Service>(
      resources.service,
      { namespace: "e12", name: "derived-cart" },
      signal,
    );
    return now?.spec?.ports?.[0]?.port === 81;
  });
});

test("unexported and exported again soon after, it serves again", async () => {
  const s = await scenario("e13");
  await s.applyAll(s.serviceObjects({ name: "cart", clusters: ["member1"] }));
  await s.answeredBy("cart", ["member1"], 1);
  for (let round = 0; round < 3; round++) {
    await s.delete("multicluster.x-k8s.io/v1alpha1", "ServiceExport", "cart");
    await delay(round * 150);
    await s.applyAll(s.exportObjects("cart", ["member1"]));
    await s.answeredBy("cart", ["member1"], 1);
  }
});

test("a member that offers the metadata address, the hub's or one outside its CIDRs gets a verdict, and no request goes there", async () => {
  const s = await scenario("e14");
  await s.applyAll(s.serviceObjects({ name: "cart", clusters: ["member1", "member2"] }));
  await s.answeredBy("cart", ["member1", "member2"], 2);
  // An API server itself refuses link-local addresses; a member that writes to the bus by itself does not ask it.
  const offered = ["127.0.0.1", "127.12.0.200", "10.0.0.7"];
  const slice: EndpointSlice = {
    apiVersion: "discovery.k8s.io/v1",
    kind: "EndpointSlice",
    metadata: { name: "cart-evil", namespace: "e14", labels: { "kubernetes.io/service-name": "cart" } },
    addressType: "IPv4",
    ports: [{ name: "", port: 8080, protocol: "TCP" }],
    endpoints: offered.map((address) => ({ addresses: [address], conditions: { ready: true } })),
  };
  await s.apply(slice, world.cluster("member1"));
  const condition = await eventually("a verdict", async () => {
    const found = await s.exportCondition("member1", "cart", "Ready");
    return found?.status === "False" ? found : false;
  });
  assert.equal(condition.reason, "PeersRefused");
  const controller = new AbortController();
  const kit = createKit({ service: "e2e", signal: controller.signal });
  const bus = await connectBus({
    url: world.addresses.nats,
    files: world.addresses.natsFiles,
    name: "e2e",
    kit,
  });
  const view = bus.view(fleetTable);
  const rogue = rogueMember(bus, "e14", "cart", "169.254.169.254");
  const verdicts = bus.view(verdictsTable);
  const refused = ["169.254.169.254", ...offered];
  try {
    const verdict = await eventually("a verdict on the rogue", async () => verdicts.get("rogue.e14.cart"));
    assert.match(verdict.conditions[0]?.message ?? "", /169\.254\.169\.254 is/);
    await view.upToDate(signal);
    const rows = JSON.stringify([...view.entries()].filter(([key]) => key.includes(".peers.")));
    for (const address of refused) assert.ok(!rows.includes(`"${address}"`), `${address} is in the fleet`);
  } finally {
    controller.abort();
    await Promise.all([view.done, verdicts.done, rogue.done]);
    await bus.close();
  }
  await s.answeredBy("cart", ["member1", "member2"], 2);
});

test("a malformed policy, a backend by resource and an unknown class are told on their objects, and all else serves", async () => {
  const s = await scenario("bad-input");
  await s.applyAll(s.serviceObjects({ name: "cart", clusters: ["member1"] }));
  const spread = {
    resourceSelectors: [{ apiVersion: "v1", kind: "Service", name: "cart" }],
    placement: { spreadConstraints: [{ spreadByField: "cluster", maxGroups: 2 }] },
  };
  await s.apply(s.object("policy.karmada.io/v1alpha1", "PropagationPolicy", "spread", { spec: spread }));
  const byResource = { resource: { apiGroup: "example.test", kind: "Bucket", name: "b" } };
  const mci = (name: string, className: string, backend: object): KubeObject =>
    s.object("networking.karmada.io/v1alpha1", "MultiClusterIngress", name, {
      spec: {
        ingressClassName: className,
        rules: [{ host: s.host, http: { paths: [{ path: `/${name}`, pathType: "Prefix", backend }] } }],
      },
    });
  await s.apply(mci("bucket", "nginx", byResource));
  await s.apply(mci("strange", "no-such-class", { service: { name: "cart", port: { number: 81 } } }));
  await s.answeredBy("cart", ["member1"], 1);
  for (const [kind, name, field] of [
    ["PropagationPolicy", "spread", /spreadConstraints/],
    ["MultiClusterIngress", "bucket", /resource/],
    ["MultiClusterIngress", "strange", /no-such-class/],
  ] as const) {
    const event = await eventually(
      `an Event on ${kind} ${name}`,
      async () => (await s.eventsOn(kind, name))[0] ?? false,
    );
    assert.match(event.message ?? "", field);
  }
  assert.equal((await s.get("/bucket")).status, 503);
});

test("a Secret's certificate is shown over https, and another one from the next handshake on, without a reload", async () => {
  const s = await scenario("tls");
  const url = world.addresses.proxy.https;
  assert.ok(url !== undefined);
  const authority = await trialAuthority();
  const make = () => trialCertificate({ names: [s.host], issuer: authority });
  const [first, second] = [await make(), await make()];
  const serial = ({ cert }: TrialCertificate) => new X509Certificate(cert).serialNumber;
  const base64 = (text: string) => Buffer.from(text).toString("base64");
  const secret = ({ cert, key }: TrialCertificate, name = "cart-tls"): KubeObject =>
    s.object("v1", "Secret", name, {
      type: "kubernetes.io/tls",
      data: { "tls.crt": base64(cert), "tls.key": base64(key) },
    });
  const asked = () => getByTls(`${url}/`, s.host, authority.cert);
  const shown = (certificate: TrialCertificate) =>
    eventually("the certificate is shown", async () => (await asked()).serialNumber === serial(certificate));
  const reloads = async () => {
    const answer = await fetch(`${world.addresses.probes["proxy-agent"]}/metrics`, { signal });
    return (await answer.text()).split("\n").filter((line) => line.startsWith("sluice_nginx_reloads_total"));
  };

  const standing = await trialCertificate({ names: ["default.example.test"], issuer: authority });
  await s.apply(secret(standing, "default"));
  await s.apply(secret(first));
  const objects = s.serviceObjects({ name: "cart", clusters: ["member1"] });
  await s.applyAll(objects);
  await s.answeredBy("cart", ["member1"], 1);
  const ingress = objects.at(-1) as KubeObject & { readonly spec: object };
  const tls = [{ hosts: [s.host], secretName: "cart-tls" }];
  await s.apply({ ...ingress, spec: { ...ingress.spec, tls } } as KubeObject);
  await shown(first);
  const answer = await asked();
  assert.ok(answer.trusted && answer.status === 200);
  assert.match(answer.body, /^Hostname: /m);
  await eventually("in clear it leads to https", async () => (await s.get("/")).status === 308);

  const before = await reloads();
  await s.apply(secret(second));
  await shown(second);
  assert.deepEqual(await reloads(), before);

  await s.delete("v1", "Secret", "cart-tls");
  await shown(standing);
  assert.equal((await asked()).trusted, false, "the default certificate is for another name");
  await eventually("an Event says so", async () =>
    (await s.eventsOn("MultiClusterIngress", "cart")).some(({ reason }) => reason === "SecretMissing"),
  );
  const logs = join(world.addresses.stateDir, "logs");
  for (const file of readdirSync(logs)) {
    const text = readFileSync(join(logs, file), "latin1");
    for (const { key } of [first, second]) {
      for (const line of key.split("\n").filter((each) => each.length > 20 && !each.startsWith("-"))) {
        assert.ok(!text.includes(line), `${file} holds a private key`);
      }
    }
  }
});
