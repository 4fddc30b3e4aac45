import { arrayAt, isObject, type JsonObject, type KubeObject, objectAt, textAt } from "../json.ts";
import { type FieldError, invalidValue, requiredValue } from "../status.ts";
import { checkName } from "./names.ts";

/** Defaults of a pod spec that depend on other fields; changes `spec` in place. */
export function completePodSpec(spec: JsonObject): void {
  for (const group of ["containers", "initContainers"]) {
    for (const container of arrayAt(spec, group)) {
      if (!isObject(container) || container.imagePullPolicy !== undefined) continue;
      container.imagePullPolicy = isLatest(textAt(container, "image")) ? "Always" : "IfNotPresent";
    }
  }
  if (typeof spec.serviceAccountName === "string") spec.serviceAccount ??= spec.serviceAccountName;
}

function isLatest(image: string): boolean {
  if (image.includes("@")) return false;
  const tag = /:([^:/]+)$/.exec(image)?.[1];
  return tag === undefined || tag === "latest";
}

export function checkPodSpec(spec: JsonObject, field: string): FieldError[] {
  const containers = arrayAt(spec, "containers");
  if (containers.length === 0) return [requiredValue(`${field}.containers`)];
  const errors: FieldError[] = [];
  const names = new Set<string>();
  for (const [i, container] of containers.entries()) {
    const at = `${field}.containers[${i}]`;
    const name = textAt(container, "name");
    if (name === "") errors.push(requiredValue(`${at}.name`));
    else errors.push(...checkName(name, "label", `${at}.name`));
    if (names.has(name) && name !== "") {
      errors.push({
        reason: "FieldValueDuplicate",
        field: `${at}.name`,
        message: `Duplicate value: "${name}"`,
      });
    }
    names.add(name);
    if (textAt(container, "image") === "") errors.push(requiredValue(`${at}.image`));
    for (const [p, port] of arrayAt(container, "ports").entries()) {
      const number = isObject(port) ? port.containerPort : undefined;
      if (number === undefined) errors.push(requiredValue(`${at}.ports[${p}].containerPort`));
      else if (!isPort(number))
        errors.push(invalidValue(`${at}.ports[${p}].containerPort`, number, PORT_TEXT));
    }
  }
  return errors;
}

export const PORT_TEXT = "must be between 1 and 65535, inclusive";

export function isPort(value: unknown): boolean {
  return typeof value === "number" && Number.isInteger(value) && value >= 1 && value <= 65535;
}

/** What Deployments and ReplicaSets have in common: template, selector, replicas. */
export function checkTemplateOwner(object: KubeObject, previous: KubeObject | undefined): FieldError[] {
  const spec = objectAt(object, "spec");
  const errors: FieldError[] = [];
  const selector = objectAt(spec, "selector");
  const matchLabels = objectAt(selector, "matchLabels");
  const template = objectAt(spec, "template");
  if (typeof spec.replicas === "number" && spec.replicas < 0) {
    errors.push(invalidValue("spec.replicas", spec.replicas, "must be greater than or equal to 0"));
  }
  if (spec.selector === undefined) errors.push(requiredValue("spec.selector"));
  const labels = objectAt(objectAt(template, "metadata"), "labels");
  const matched = Object.entries(matchLabels).every(([key, value]) => labels[key] === value);
  if (!matched) {
    errors.push(
      invalidValue("spec.template.metadata.labels", labels, "`selector` does not match template `labels`"),
    );
  }
  errors.push(...checkPodSpec(objectAt(template, "spec"), "spec.template.spec"));
  if (
    previous !== undefined &&
    JSON.stringify(objectAt(previous, "spec").selector) !== JSON.stringify(spec.selector)
  ) {
    errors.push(invalidValue("spec.selector", selector, "field is immutable"));
  }
  return errors;
}
