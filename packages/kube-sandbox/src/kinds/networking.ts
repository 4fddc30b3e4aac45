import { arrayAt, isObject, type KubeObject, objectAt, textAt } from "../json.ts";
import {
  atomicObj,
  bool,
  described,
  int32,
  list,
  mapOf,
  obj,
  opaque,
  str,
  time,
  withDefault,
} from "../schema/schema.ts";
import { type FieldError, invalidValue, requiredValue, unsupportedValue } from "../status.ts";
import { ageColumn, column, nameColumn } from "./columns.ts";
import { objectReference } from "./core.ts";
import { builtIn, type ResourceType } from "./resource-type.ts";

const backend = obj({
  service: obj({ name: str, port: atomicObj({ name: str, number: int32 }) }, ["name"]),
  resource: atomicObj({ apiGroup: str, kind: str, name: str }),
});

const ingressSpec = obj({
  ingressClassName: str,
  defaultBackend: backend,
  tls: list(obj({ hosts: list(str), secretName: str })),
  rules: list(
    obj({
      host: str,
      http: obj({ paths: list(obj({ path: str, pathType: str, backend }, ["pathType", "backend"])) }, [
        "paths",
      ]),
    }),
  ),
});

const ingresses = builtIn({
  group: "networking.k8s.io",
  version: "v1",
  plural: "ingresses",
  kind: "Ingress",
  shortNames: ["ing"],
  status: true,
  generation: "spec",
  schema: described(
    obj({ spec: ingressSpec, status: obj({ loadBalancer: obj({ ingress: list(opaque) }) }) }),
    "Ingress is a set of rules from hosts and paths to services.",
  ),
  columns: [
    nameColumn,
    column("Class", (object) => textAt(objectAt(object, "spec"), "ingressClassName") || "<none>"),
    column("Hosts", (object) => {
      const hosts = arrayAt(objectAt(object, "spec"), "rules").map((rule) => textAt(rule, "host") || "*");
      return hosts.length === 0 ? "*" : hosts.join(",");
    }),
    column("Address", (object) =>
      arrayAt(objectAt(objectAt(object, "status"), "loadBalancer"), "ingress")
        .map((entry) => textAt(entry, "ip") || textAt(entry, "hostname"))
        .join(","),
    ),
    column("Ports", (object) => (arrayAt(objectAt(object, "spec"), "tls").length > 0 ? "80, 443" : "80")),
    ageColumn,
  ],
  strategy: {
    validate(object) {
      const spec = objectAt(object, "spec");
      if (arrayAt(spec, "rules").length > 0 || isObject(spec.defaultBackend)) return [];
      return [invalidValue("spec", {}, "either `defaultBackend` or `rules` must be specified")];
    },
  },
});

const ingressClasses = builtIn({
  group: "networking.k8s.io",
  version: "v1",
  plural: "ingressclasses",
  kind: "IngressClass",
  namespaced: false,
  generation: "spec",
  schema: described(
    obj({
      spec: obj({
        controller: str,
        parameters: obj({ apiGroup: str, kind: str, name: str, scope: str, namespace: str }, [
          "kind",
          "name",
        ]),
      }),
    }),
    "IngressClass names a controller for Ingresses.",
  ),
  columns: [
    nameColumn,
    column("Controller", (object) => textAt(objectAt(object, "spec"), "controller")),
    column(
      "Parameters",
      (object) => textAt(objectAt(objectAt(object, "spec"), "parameters"), "name") || "<none>",
    ),
    ageColumn,
  ],
});

const endpoint = obj(
  {
    addresses: list(str),
    conditions: obj({ ready: bool, serving: bool, terminating: bool }),
    hostname: str,
    targetRef: objectReference,
    deprecatedTopology: mapOf(str),
    nodeName: str,
    zone: str,
    hints: obj({
      forZones: list(obj({ name: str }, ["name"])),
      forNodes: list(obj({ name: str }, ["name"])),
    }),
  },
  ["addresses"],
);

const ADDRESS_TYPES = ["FQDN", "IPv4", "IPv6"];

const endpointSlices = builtIn({
  group: "discovery.k8s.io",
  version: "v1",
  plural: "endpointslices",
  kind: "EndpointSlice",
  generation: "all",
  schema: described(
    obj(
      {
        addressType: described(str, "IPv4, IPv6 or FQDN; it cannot be changed."),
        endpoints: described(list(endpoint), "At most 1000 endpoints."),
        ports: described(
          list(
            obj({
              name: withDefault(str, ""),
              protocol: withDefault(str, "TCP"),
              port: int32,
              appProtocol: str,
            }),
          ),
          "Ports that every endpoint of this slice has.",
        ),
      },
      ["addressType", "endpoints"],
    ),
    "EndpointSlice is a part of the endpoints of a Service.",
  ),
  columns: [
    nameColumn,
    column("AddressType", (object) => textAt(object, "addressType")),
    column("Ports", (object) => {
      const ports = arrayAt(object, "ports").map((port) => (isObject(port) ? String(port.port ?? "") : ""));
      return ports.length === 0 ? "<unset>" : shortened(ports);
    }),
    column("Endpoints", (object) => {
      const addresses = arrayAt(object, "endpoints").flatMap((item) =>
        arrayAt(item, "addresses").map(String),
      );
      return addresses.length === 0 ? "<unset>" : shortened(addresses);
    }),
    ageColumn,
  ],
  strategy: {
    prepare(object) {
      // Not omitempty in Go: a slice without endpoints says so.
      object.endpoints ??= [];
    },
    validate: checkSlice,
  },
});

function shortened(values: string[]): string {
  const more = values.length > 3 ? ` + ${values.length - 3} more...` : "";
  return values.slice(0, 3).join(",") + more;
}

function checkSlice(object: KubeObject, previous: KubeObject | undefined): FieldError[] {
  const errors: FieldError[] = [];
  const type = textAt(object, "addressType");
  if (type === "") errors.push(requiredValue("addressType"));
  else if (!ADDRESS_TYPES.includes(type)) errors.push(unsupportedValue("addressType", type, ADDRESS_TYPES));
  if (previous !== undefined && previous.addressType !== object.addressType) {
    errors.push(invalidValue("addressType", type, "field is immutable"));
  }
  const endpoints = arrayAt(object, "endpoints");
  if (endpoints.length > 1000) {
    const message = `Too many: ${endpoints.length}: must have at most 1000 items`;
    errors.push({ reason: "FieldValueTooMany", field: "endpoints", message });
  }
  for (const [i, item] of endpoints.entries()) {
    const addresses = arrayAt(item, "addresses");
    if (addresses.length === 0)
      errors.push(requiredValue(`endpoints[${i}].addresses`, "must contain at least 1 address"));
    for (const [a, address] of addresses.entries()) {
      const at = `endpoints[${i}].addresses[${a}]`;
      if (type === "IPv4") errors.push(...checkAddress(String(address), at));
    }
  }
  return errors;
}

/** validation.ValidateEndpointIP of Kubernetes: no loopback, link-local or multicast, but the sandbox's own pods are loopback. */
function checkAddress(address: string, field: string): FieldError[] {
  const parts = address.split(".").map(Number);
  const valid =
    parts.length === 4 && parts.every((part) => Number.isInteger(part) && part >= 0 && part <= 255);
  if (!valid) return [invalidValue(field, address, "must be a valid IPv4 address")];
  const [a = 0, b = 0] = parts;
  if (parts.every((part) => part === 0))
    return [invalidValue(field, address, "may not be unspecified (0.0.0.0 or ::)")];
  if (a === 169 && b === 254) {
    return [invalidValue(field, address, "may not be in the link-local range (169.254.0.0/16, fe80::/10)")];
  }
  if (a === 224 && b === 0 && parts[2] === 0) {
    return [
      invalidValue(field, address, "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)"),
    ];
  }
  return [];
}

const leases = builtIn({
  group: "coordination.k8s.io",
  version: "v1",
  plural: "leases",
  kind: "Lease",
  createOnUpdate: true,
  schema: described(
    obj({
      spec: obj({
        holderIdentity: str,
        leaseDurationSeconds: int32,
        acquireTime: time,
        renewTime: time,
        leaseTransitions: int32,
        strategy: str,
        preferredHolder: str,
      }),
    }),
    "Lease says who holds something, and until when.",
  ),
  columns: [
    nameColumn,
    column("Holder", (object) => textAt(objectAt(object, "spec"), "holderIdentity")),
    ageColumn,
  ],
});

export const networkKinds: ResourceType[] = [ingresses, ingressClasses, endpointSlices, leases];
