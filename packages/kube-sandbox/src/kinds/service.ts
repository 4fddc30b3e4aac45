import { arrayAt, isObject, type JsonObject, type KubeObject, objectAt, textAt } from "../json.ts";
import {
  bool,
  described,
  int32,
  list,
  listMap,
  mapOf,
  obj,
  opaque,
  str,
  withDefault,
} from "../schema/schema.ts";
import { duplicateValue, type FieldError, invalidValue, requiredValue, unsupportedValue } from "../status.ts";
import { ageColumn, column, nameColumn } from "./columns.ts";
import { servicePort } from "./core.ts";
import { checkName } from "./names.ts";
import { isPort, PORT_TEXT } from "./pod-rules.ts";
import { conditions } from "./pod-schema.ts";
import { builtIn, type ResourceType } from "./resource-type.ts";

const schema = described(
  obj({
    spec: obj({
      ports: described(listMap(servicePort, ["port", "protocol"], "port"), "Ports that the Service offers."),
      selector: described(
        { ...mapOf(str), "x-kubernetes-map-type": "atomic" },
        "Labels of the pods behind it; without one somebody else keeps its EndpointSlices.",
      ),
      clusterIP: str,
      clusterIPs: list(str),
      type: withDefault(str, "ClusterIP"),
      externalIPs: list(str),
      sessionAffinity: withDefault(str, "None"),
      loadBalancerIP: str,
      loadBalancerSourceRanges: list(str),
      externalName: str,
      externalTrafficPolicy: str,
      healthCheckNodePort: int32,
      publishNotReadyAddresses: bool,
      sessionAffinityConfig: opaque,
      ipFamilies: list(str),
      ipFamilyPolicy: str,
      allocateLoadBalancerNodePorts: bool,
      loadBalancerClass: str,
      internalTrafficPolicy: str,
      trafficDistribution: str,
    }),
    status: obj({
      loadBalancer: obj({ ingress: list(opaque) }),
      conditions: { ...conditions, items: conditionItem() },
    }),
  }),
  "Service is a name and a port for a set of pods.",
);

function conditionItem() {
  return obj({
    type: str,
    status: str,
    observedGeneration: int32,
    lastTransitionTime: str,
    reason: str,
    message: str,
  });
}

/** Cluster IPs come out of one range per cluster, as kube-apiserver's allocator hands them out; none is reachable. */
export class AddressRange {
  #next = 1;
  readonly #taken = new Set<string>();

  take(): string {
    for (;;) {
      const n = this.#next++ % 0xffff;
      const address = `10.96.${n >> 8}.${n & 0xff}`;
      if (n !== 0 && !this.#taken.has(address)) {
        this.#taken.add(address);
        return address;
      }
    }
  }

  reserve(address: string): void {
    this.#taken.add(address);
  }

  release(address: string): void {
    this.#taken.delete(address);
  }
}

export function serviceKind(addresses: AddressRange): ResourceType {
  return builtIn({
    group: "",
    version: "v1",
    plural: "services",
    kind: "Service",
    shortNames: ["svc"],
    categories: ["all"],
    names: "label-1035",
    status: true,
    returnsDeleted: true,
    schema,
    columns: [
      nameColumn,
      column("Type", (object) => textAt(objectAt(object, "spec"), "type")),
      column("Cluster-IP", (object) => textAt(objectAt(object, "spec"), "clusterIP") || "<none>"),
      column("External-IP", externalAddress),
      column("Port(s)", portList),
      ageColumn,
      column("Selector", selectorText, { wide: true }),
    ],
    strategy: {
      prepare: (object, previous) => prepareService(object, previous, addresses),
      validate: checkService,
    },
  });
}

function prepareService(object: KubeObject, previous: KubeObject | undefined, addresses: AddressRange): void {
  const spec: JsonObject = { ...objectAt(object, "spec") };
  object.spec = spec;
  if (previous === undefined) object.status = { loadBalancer: {} };
  const ports = arrayAt(spec, "ports");
  if (ports.length > 0) {
    spec.ports = ports.map((port) =>
      isObject(port) && port.targetPort === undefined ? { ...port, targetPort: port.port } : port,
    ) as JsonObject[];
  }
  if (spec.type === "ExternalName") return;
  const before = objectAt(previous, "spec");
  // An update that leaves the address out keeps it, as kube-apiserver does for clients of older schemas.
  if (textAt(spec, "clusterIP") === "" && textAt(before, "clusterIP") !== "")
    spec.clusterIP = before.clusterIP;
  if (textAt(spec, "clusterIP") === "") spec.clusterIP = addresses.take();
  else if (spec.clusterIP !== "None") addresses.reserve(textAt(spec, "clusterIP"));
  spec.clusterIPs =
    before.clusterIP === spec.clusterIP && before.clusterIPs ? before.clusterIPs : [spec.clusterIP ?? ""];
  spec.ipFamilies ??= before.ipFamilies ?? ["IPv4"];
  spec.ipFamilyPolicy ??= before.ipFamilyPolicy ?? "SingleStack";
  spec.internalTrafficPolicy ??= "Cluster";
  if (spec.type === "NodePort" || spec.type === "LoadBalancer") {
    spec.externalTrafficPolicy ??= "Cluster";
    if (spec.type === "LoadBalancer") spec.allocateLoadBalancerNodePorts ??= true;
  }
}

const TYPES = ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
const PROTOCOLS = ["SCTP", "TCP", "UDP"];

function checkService(object: KubeObject, previous: KubeObject | undefined): FieldError[] {
  const spec = objectAt(object, "spec");
  const errors: FieldError[] = [];
  const ports = arrayAt(spec, "ports");
  const headless = spec.clusterIP === "None";
  if (ports.length === 0 && !headless && spec.type !== "ExternalName")
    errors.push(requiredValue("spec.ports"));
  if (!TYPES.includes(textAt(spec, "type"))) errors.push(unsupportedValue("spec.type", spec.type, TYPES));
  const names = new Set<string>();
  const numbers = new Set<string>();
  for (const [i, port] of ports.entries()) {
    const at = `spec.ports[${i}]`;
    if (!isObject(port)) continue;
    const name = textAt(port, "name");
    if (name === "" && ports.length > 1) errors.push(requiredValue(`${at}.name`));
    if (name !== "") {
      errors.push(...checkName(name, "label", `${at}.name`));
      if (names.has(name)) errors.push(duplicateValue(`${at}.name`, name));
      names.add(name);
    }
    if (!isPort(port.port)) errors.push(invalidValue(`${at}.port`, port.port ?? 0, PORT_TEXT));
    if (!PROTOCOLS.includes(textAt(port, "protocol"))) {
      errors.push(unsupportedValue(`${at}.protocol`, port.protocol, PROTOCOLS));
    }
    const { targetPort } = port;
    if (typeof targetPort === "number" && !isPort(targetPort)) {
      errors.push(invalidValue(`${at}.targetPort`, targetPort, PORT_TEXT));
    }
    const pair = `${String(port.protocol)}/${String(port.port)}`;
    if (numbers.has(pair)) errors.push(duplicateValue(at, { protocol: port.protocol, port: port.port }));
    numbers.add(pair);
  }
  const before = textAt(objectAt(previous, "spec"), "clusterIP");
  if (before !== "" && spec.type !== "ExternalName" && spec.clusterIP !== before) {
    errors.push(invalidValue("spec.clusterIPs[0]", spec.clusterIPs, "may not change once set"));
  }
  return errors;
}

function externalAddress(object: KubeObject): string {
  const spec = objectAt(object, "spec");
  if (spec.type === "ExternalName") return textAt(spec, "externalName");
  const ingress = arrayAt(objectAt(objectAt(object, "status"), "loadBalancer"), "ingress");
  const found = ingress.map((entry) => textAt(entry, "ip") || textAt(entry, "hostname")).join(",");
  if (found !== "") return found;
  return spec.type === "LoadBalancer" ? "<pending>" : "<none>";
}

function portList(object: KubeObject): string {
  const ports = arrayAt(objectAt(object, "spec"), "ports").map((port) => {
    if (!isObject(port)) return "";
    const node = typeof port.nodePort === "number" ? `:${port.nodePort}` : "";
    return `${String(port.port)}${node}/${String(port.protocol)}`;
  });
  return ports.length === 0 ? "<none>" : ports.join(",");
}

function selectorText(object: KubeObject): string {
  const pairs = Object.entries(objectAt(objectAt(object, "spec"), "selector"));
  return pairs.length === 0 ? "<none>" : pairs.map(([key, value]) => `${key}=${String(value)}`).join(",");
}
