// What the two dashboards in ingress-nginx's repository ask of Prometheus: each selector with its matchers, and the labels
// that answers are grouped by. `$x` is a variable of the dashboard.

export interface Sample {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

interface Query {
  /** A Prometheus selector. */
  readonly selector: string;
  /** Labels without which the answer would be one nameless line. */
  readonly by?: readonly string[];
  /** It has labels that ingress-nginx does not write either: it finds nothing once one of its variables is chosen. */
  readonly atAllAlone?: true;
}

const OWN = "controller_pod=~$controller,controller_class=~$controller_class";
/** By the namespace of the controller, or, as some panels do, by that of what was scraped: the same in Kubernetes. */
const HERE = `${OWN},controller_namespace=~$namespace`;
const SCRAPED = `${OWN},namespace=~$namespace`;
const INGRESS = "ingress=~$ingress";
const OF_EACH = `ingress!="",${HERE},${INGRESS}`;
const EXPORTED = `${OF_EACH},exported_namespace=~$exported_namespace`;

export const dashboardQueries: readonly Query[] = [
  {
    selector: `config_last_reload_successful_timestamp_seconds{instance!="unknown",controller_class=~$controller_class,namespace=~$namespace}`,
    by: ["controller_class"],
  },
  { selector: `requests{${SCRAPED}}` },
  { selector: `requests{${SCRAPED},status!~"[4-5].*"}` },
  { selector: `nginx_process_connections{${HERE},state="active"}` },
  { selector: `success{${HERE}}` },
  { selector: "config_last_reload_successful{controller_pod=~$controller,controller_namespace=~$namespace}" },
  { selector: `requests{${HERE},${INGRESS}}`, by: ["ingress"] },
  { selector: `requests{${SCRAPED},${INGRESS},status!~"[4-5].*"}`, by: ["ingress"] },
  { selector: `request_size_sum{${HERE}}` },
  { selector: `response_size_sum{${HERE}}` },
  { selector: `nginx_process_resident_memory_bytes{${HERE}}` },
  { selector: `nginx_process_cpu_seconds_total{${HERE}}` },
  { selector: `request_duration_seconds_bucket{${OF_EACH}}`, by: ["le", "ingress"] },
  { selector: `request_size_sum{${OF_EACH}}`, by: ["ingress"] },
  { selector: `response_size_sum{${OF_EACH}}`, by: ["ingress"] },
  { selector: `request_duration_seconds_bucket{${EXPORTED}}`, by: ["le"] },
  {
    selector:
      "ssl_expire_time_seconds{kubernetes_pod_name=~$controller,namespace=~$namespace,ingress=~$ingress}",
    by: ["host"],
    atAllAlone: true,
  },
  // The second dashboard.
  { selector: `request_duration_seconds_bucket{${INGRESS}}`, by: ["le"] },
  { selector: `response_duration_seconds_bucket{${INGRESS}}`, by: ["le", "path"] },
  { selector: `request_duration_seconds_count{${INGRESS}}`, by: ["path"] },
  { selector: `request_duration_seconds_count{${INGRESS},status=~"[4-5].*"}`, by: ["path", "status"] },
  { selector: `response_duration_seconds_sum{${INGRESS}}`, by: ["path"] },
  { selector: `response_size_sum{${INGRESS}}`, by: ["path"] },
  { selector: `response_size_count{${INGRESS}}`, by: ["path"] },
  { selector: `response_size_bucket{${INGRESS}}`, by: ["le"] },
  { selector: `ingress_upstream_latency_seconds_sum{${INGRESS}}` },
  { selector: `ingress_upstream_latency_seconds_count{${INGRESS}}` },
];

/** Where each variable takes its values from: a selector, and a label of what it finds. */
const VARIABLES: readonly (readonly [variable: string, selector: string, label: string])[] = [
  ["namespace", "config_hash", "controller_namespace"],
  ["controller_class", "config_hash{namespace=~$namespace}", "controller_class"],
  ["controller", "config_hash{namespace=~$namespace,controller_class=~$controller_class}", "controller_pod"],
  ["ingress", `requests{${SCRAPED}}`, "ingress"],
  ["exported_namespace", `requests{${SCRAPED},${INGRESS}}`, "exported_namespace"],
];

export type Variables = Readonly<Record<string, string>>;

/** Every variable as it is at first: All. */
export const all: Variables = new Proxy({}, { get: () => ".*" });

/** Every variable set to the first value that the dashboard offers. */
export function chosen(samples: readonly Sample[]): Variables {
  const variables: Record<string, string> = {};
  for (const [variable, selector, label] of VARIABLES) {
    const [value] = select(samples, selector, variables)
      .map(({ labels }) => labels[label] ?? "")
      .filter((each) => each !== "")
      .sort();
    if (value === undefined)
      throw new Error(`nothing to choose for $${variable}: ${selector} has no ${label}`);
    variables[variable] = value;
  }
  return variables;
}

/** Series that a selector finds; `nginx_ingress_controller_` stands before its name. A label that is missing is empty. */
export function select(samples: readonly Sample[], selector: string, variables: Variables): Sample[] {
  const [, name = "", text = ""] = /^(\w+)(?:\{(.*)\})?$/.exec(selector) ?? [];
  const matchers = [...text.matchAll(/(\w+)(=~|!~|!=|=)(?:"([^"]*)"|\$(\w+))/g)];
  return samples.filter(
    (sample) =>
      sample.name === `nginx_ingress_controller_${name}` &&
      matchers.every(([, label = "", how, literal, variable]) => {
        const value = sample.labels[label] ?? "";
        const wanted = literal ?? variables[variable ?? ""] ?? "";
        const equal = how?.endsWith("~") ? new RegExp(`^(?:${wanted})$`).test(value) : value === wanted;
        return how?.startsWith("!") ? !equal : equal;
      }),
  );
}

/** As Prometheus has them that finds its targets in Kubernetes: labels of the target go first, its own are `exported_…`. */
export function scraped(samples: readonly Sample[], target: Readonly<Record<string, string>>): Sample[] {
  return samples.map(({ name, labels, value }) => {
    const own = Object.entries(labels)
      .filter(([, text]) => text !== "")
      .map(([label, text]) => [label in target ? `exported_${label}` : label, text]);
    return { name, value, labels: { ...Object.fromEntries(own), ...target } };
  });
}
