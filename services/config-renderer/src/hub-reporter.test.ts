import assert from "node:assert/strict";
import { test } from "node:test";
import { decode, ObjectFindings } from "@sluice/contracts";
import type { Reason, Verdict } from "@sluice/ingress";
import type { KubeClient } from "@sluice/kube";
import { createKit } from "@sluice/service-kit";
import { HubReporter } from "./hub-reporter.ts";

function verdict(name: string, reason: Reason, message: string): Verdict {
  const object = {
    apiVersion: "networking.karmada.io/v1alpha1",
    kind: "MultiClusterIngress",
    namespace: "shop",
    name,
  };
  return { object, type: "Warning", reason, message };
}

function reporter(speaks: () => boolean): HubReporter {
  const { signal } = new AbortController();
  return new HubReporter({} as KubeClient, [], speaks, createKit({ service: "config-renderer", signal }));
}

test("of a renderer's verdicts its heartbeat shows what a status does not show otherwise, until it is mended", () => {
  let speaks = true;
  const told = reporter(() => speaks);
  assert.equal(told.findings(), undefined);
  const said = [
    verdict("web", "AnnotationsIgnored", "metadata.annotations: not supported yet and ignored: x"),
    verdict("web", "ConfigMapIgnored", "data: not used: x: no such key is known here"),
    verdict("web", "ImportMissing", "spec.rules[0]: no ServiceImport web. It answers 503 until then"),
    verdict("web", "AnnotationInvalid", "proxy-body-size: …"),
  ];
  told.verdicts(new Map([["MultiClusterIngress shop/web", said]]));
  const finding = {
    object: "MultiClusterIngress shop/web",
    reason: "AnnotationInvalid",
    message: "proxy-body-size: …",
  };
  assert.deepEqual(told.findings(), { findings: [finding], more: 0 });
  speaks = false;
  assert.equal(told.findings(), undefined, "who does not hold the fleet says nothing");
  speaks = true;
  told.verdicts(new Map([["MultiClusterIngress shop/web", []]]));
  assert.equal(told.findings(), undefined);
});

test("a heartbeat carries a bounded number of findings, of bounded length, and how many more there are", () => {
  const told = reporter(() => true);
  const many = Array.from({ length: 50 }, (_, i) => verdict(`web-${i}`, "HostTaken", "x".repeat(5000)));
  told.verdicts(new Map(many.map((one) => [`MultiClusterIngress shop/${one.object.name}`, [one]])));
  const shown = decode(ObjectFindings, told.findings(), "findings");
  assert.equal(shown.findings.length + shown.more, 50);
  assert.ok(JSON.stringify(shown).length < 20_000, JSON.stringify(shown));
});
