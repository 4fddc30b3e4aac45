import {
  atomicObj,
  bool,
  described,
  int32,
  int64,
  intOrString,
  list,
  listMap,
  mapOf,
  obj,
  opaque,
  quantity,
  type Schema,
  setOf,
  str,
  time,
  withDefault,
} from "../schema/schema.ts";

export const labelSelector: Schema = described(
  atomicObj({
    matchLabels: mapOf(str),
    matchExpressions: list(obj({ key: str, operator: str, values: list(str) }, ["key", "operator"])),
  }),
  "Which objects are meant, by their labels.",
);

const condition: Schema = obj(
  {
    type: str,
    status: str,
    observedGeneration: int64,
    lastProbeTime: time,
    lastHeartbeatTime: time,
    lastTransitionTime: time,
    lastUpdateTime: time,
    reason: str,
    message: str,
  },
  ["type", "status"],
);

export const conditions: Schema = listMap(condition, ["type"]);

const resources: Schema = obj({
  limits: mapOf(quantity),
  requests: mapOf(quantity),
  claims: listMap(obj({ name: str, request: str }, ["name"]), ["name"]),
});

const probe: Schema = obj({
  exec: obj({ command: list(str) }),
  httpGet: obj(
    {
      path: str,
      port: intOrString,
      host: str,
      scheme: withDefault(str, "HTTP"),
      httpHeaders: list(obj({ name: str, value: str }, ["name", "value"])),
    },
    ["port"],
  ),
  tcpSocket: obj({ port: intOrString, host: str }, ["port"]),
  grpc: obj({ port: int32, service: str }, ["port"]),
  initialDelaySeconds: int32,
  timeoutSeconds: withDefault(int32, 1),
  periodSeconds: withDefault(int32, 10),
  successThreshold: withDefault(int32, 1),
  failureThreshold: withDefault(int32, 3),
  terminationGracePeriodSeconds: int64,
});

const envVar: Schema = obj({ name: str, value: str, valueFrom: opaque }, ["name"]);

const containerPort: Schema = obj(
  {
    name: described(str, "Name that Services may refer to."),
    hostPort: int32,
    containerPort: described(int32, "Port on the pod's address."),
    protocol: withDefault(str, "TCP"),
    hostIP: str,
  },
  ["containerPort"],
);

const container: Schema = obj(
  {
    name: described(str, "Name, unique within the pod."),
    image: described(str, "Image to run."),
    command: list(str),
    args: list(str),
    workingDir: str,
    ports: listMap(containerPort, ["containerPort", "protocol"], "containerPort"),
    envFrom: list(opaque),
    env: listMap(envVar, ["name"]),
    resources: withDefault(resources, {}),
    resizePolicy: list(opaque),
    restartPolicy: str,
    volumeMounts: listMap(opaque, ["mountPath"]),
    volumeDevices: listMap(opaque, ["devicePath"]),
    livenessProbe: probe,
    readinessProbe: probe,
    startupProbe: probe,
    lifecycle: opaque,
    terminationMessagePath: withDefault(str, "/dev/termination-log"),
    terminationMessagePolicy: withDefault(str, "File"),
    imagePullPolicy: str,
    securityContext: opaque,
    stdin: bool,
    stdinOnce: bool,
    tty: bool,
  },
  ["name"],
);

const containers: Schema = listMap(container, ["name"]);

export const podSpec: Schema = obj(
  {
    volumes: listMap(opaque, ["name"]),
    initContainers: containers,
    containers: described(containers, "Containers of the pod; at least one."),
    ephemeralContainers: listMap(opaque, ["name"]),
    restartPolicy: withDefault(str, "Always"),
    terminationGracePeriodSeconds: described(
      withDefault(int64, 30),
      "Seconds between the ask to stop and the end.",
    ),
    activeDeadlineSeconds: int64,
    dnsPolicy: withDefault(str, "ClusterFirst"),
    nodeSelector: { ...mapOf(str), "x-kubernetes-map-type": "atomic" },
    serviceAccountName: str,
    serviceAccount: str,
    automountServiceAccountToken: bool,
    nodeName: described(str, "Node that runs the pod; set by the scheduler."),
    hostNetwork: bool,
    hostPID: bool,
    hostIPC: bool,
    shareProcessNamespace: bool,
    securityContext: withDefault(opaque, {}),
    imagePullSecrets: listMap(obj({ name: str }), ["name"]),
    hostname: str,
    subdomain: str,
    affinity: opaque,
    schedulerName: withDefault(str, "default-scheduler"),
    tolerations: list(opaque),
    hostAliases: listMap(obj({ ip: str, hostnames: list(str) }, ["ip"]), ["ip"]),
    priorityClassName: str,
    priority: int32,
    dnsConfig: opaque,
    readinessGates: list(obj({ conditionType: str }, ["conditionType"])),
    runtimeClassName: str,
    enableServiceLinks: bool,
    preemptionPolicy: str,
    overhead: mapOf(quantity),
    topologySpreadConstraints: listMap(opaque, ["topologyKey", "whenUnsatisfiable"], "topologyKey"),
    setHostnameAsFQDN: bool,
    os: obj({ name: str }, ["name"]),
    hostUsers: bool,
    schedulingGates: listMap(obj({ name: str }, ["name"]), ["name"]),
    resourceClaims: listMap(opaque, ["name"]),
    resources,
    hostnameOverride: str,
  },
  ["containers"],
);

/** metadata of a template: only what pods take over. */
const templateMeta: Schema = obj({
  name: str,
  generateName: str,
  namespace: str,
  creationTimestamp: time,
  labels: mapOf(str),
  annotations: mapOf(str),
  finalizers: setOf(str),
  ownerReferences: list(opaque),
});

export const podTemplate: Schema = described(
  obj({ metadata: templateMeta, spec: podSpec }),
  "What the pods look like that are made from this.",
);

const containerStatus: Schema = obj({
  name: str,
  state: opaque,
  lastState: opaque,
  ready: bool,
  restartCount: int32,
  image: str,
  imageID: str,
  containerID: str,
  started: bool,
  allocatedResources: mapOf(quantity),
  resources,
  volumeMounts: list(opaque),
  user: opaque,
  allocatedResourcesStatus: list(opaque),
  stopSignal: str,
});

export const podStatus: Schema = obj({
  observedGeneration: int64,
  phase: str,
  conditions,
  message: str,
  reason: str,
  nominatedNodeName: str,
  hostIP: str,
  hostIPs: list(obj({ ip: str }, ["ip"])),
  podIP: str,
  podIPs: listMap(obj({ ip: str }, ["ip"]), ["ip"]),
  startTime: time,
  initContainerStatuses: list(containerStatus),
  containerStatuses: list(containerStatus),
  ephemeralContainerStatuses: list(containerStatus),
  qosClass: str,
  resize: str,
  resourceClaimStatuses: listMap(opaque, ["name"]),
});
