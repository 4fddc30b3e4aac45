import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { KubeObject, PropagationPolicy } from "@sluice/kube";
import fc from "fast-check";
import { policyFor, readPolicy } from "./policy.ts";

const members = ["member1", "member2"];

function makePolicy(name: string, namespace: string | null, selector: object, spec: object = {}) {
  return {
    apiVersion: "policy.karmada.io/v1alpha1",
    kind: namespace === null ? "ClusterPropagationPolicy" : "PropagationPolicy",
    metadata: { name, ...(namespace === null ? {} : { namespace }) },
    spec: { resourceSelectors: [{ apiVersion: "v1", kind: "Service", ...selector }], ...spec },
  } as PropagationPolicy;
}

function read(...policies: PropagationPolicy[]) {
  return policies.map((object) => readPolicy(object, members).policy);
}

const web: KubeObject = {
  apiVersion: "v1",
  kind: "Service",
  metadata: { name: "web", namespace: "shop", labels: { tier: "front" } },
};

describe("of several policies that select an object", () => {
  const cases: Record<string, [PropagationPolicy, PropagationPolicy]> = {
    "a PropagationPolicy goes before a ClusterPropagationPolicy": [
      makePolicy("z", "shop", {}),
      makePolicy("a", null, { name: "web" }),
    ],
    "one that names it goes before one that selects its kind": [
      makePolicy("z", "shop", { name: "web" }),
      makePolicy("a", "shop", {}),
    ],
    "one that selects its labels goes before one that selects its kind": [
      makePolicy("z", "shop", { labelSelector: { matchLabels: { tier: "front" } } }),
      makePolicy("a", "shop", {}),
    ],
    "the higher priority goes before the closer selector": [
      makePolicy("z", "shop", {}, { priority: 2 }),
      makePolicy("a", "shop", { name: "web" }, { priority: 1 }),
    ],
    "else the alphabet decides": [
      makePolicy("a", "shop", { name: "web" }),
      makePolicy("b", "shop", { name: "web" }),
    ],
  };
  for (const [sentence, [winner, loser]] of Object.entries(cases)) {
    test(sentence, () => {
      assert.equal(policyFor(web, read(winner, loser))?.object, winner);
      assert.equal(policyFor(web, read(loser, winner))?.object, winner);
    });
  }

  test("the same one is chosen in whatever order they are seen", () => {
    const policy = fc
      .record({
        name: fc.constantFrom("a", "b", "c", "d"),
        namespace: fc.constantFrom("shop", null),
        selector: fc.constantFrom({}, { name: "web" }, { namespace: "shop" }),
        priority: fc.constantFrom(0, 1),
      })
      .map(({ name, namespace, selector, priority }) => makePolicy(name, namespace, selector, { priority }));
    const unique = fc.uniqueArray(policy, {
      selector: (p) => `${p.kind}/${p.metadata.name}`,
      minLength: 1,
    });
    fc.assert(
      fc.property(
        unique.chain((list) =>
          fc.tuple(fc.constant(list), fc.shuffledSubarray(list, { minLength: list.length })),
        ),
        ([list, shuffled]) => {
          const name = (policies: PropagationPolicy[]) => policyFor(web, read(...policies))?.object;
          assert.deepEqual(name(list), name(shuffled));
        },
      ),
    );
  });
});

describe("a policy", () => {
  test("selects nothing outside its namespace", () => {
    assert.equal(policyFor(web, read(makePolicy("a", "other", {}))), null);
    const { problems } = readPolicy(makePolicy("a", "other", { namespace: "shop" }), members);
    assert.deepEqual(
      problems.map((p) => p.field),
      ["spec.resourceSelectors[0].namespace"],
    );
  });

  test("without a placement goes to every member", () => {
    const { policy } = readPolicy(makePolicy("a", "shop", {}), members);
    assert.deepEqual([...policy.clusters], members);
  });

  test("whose clusters are narrowed by what is not supported goes nowhere", () => {
    const placement = { clusterAffinity: { labelSelector: { matchLabels: { region: "eu" } } } };
    const { policy, problems } = readPolicy(makePolicy("a", "shop", {}, { placement }), members);
    assert.equal(policy.clusters.size, 0);
    assert.equal(problems[0]?.field, "spec.placement.clusterAffinity.labelSelector");
  });

  test("that names an unknown cluster is told which there are, and goes to the others", () => {
    const placement = { clusterAffinity: { clusterNames: ["member1", "mars"] } };
    const { policy, problems } = readPolicy(makePolicy("a", "shop", {}, { placement }), members);
    assert.deepEqual([...policy.clusters], ["member1"]);
    assert.match(problems[0]?.remedy ?? "", /no member mars; write one of member1, member2/);
  });

  test("without selectors, or with broken ones, is read without a crash", () => {
    const broken = {
      ...makePolicy("a", "shop", {}),
      spec: { resourceSelectors: [null, { kind: "Service" }] },
    };
    const { policy, problems } = readPolicy(broken as unknown as PropagationPolicy, members);
    assert.equal(policy.selectors.length, 0);
    assert.equal(problems.length, 1);
    const empty = { ...makePolicy("a", "shop", {}), spec: undefined } as unknown as PropagationPolicy;
    assert.equal(readPolicy(empty, members).policy.selectors.length, 0);
  });
});
