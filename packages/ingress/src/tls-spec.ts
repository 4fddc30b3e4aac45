import { fieldsOf, listOf, quote } from "./objects.ts";
import { readSecretName } from "./secret-need.ts";

/** An entry of `spec.tls`. */
export interface TlsEntry {
  /** Lower case, as they were written. */
  readonly hosts: readonly string[];
  /** Of the object's namespace; null: none that could be there, and the default certificate is shown. */
  readonly secret: string | null;
  /** E.g. `spec.tls[0]`. */
  readonly field: string;
}

/** @param warn is told what no Secret of this namespace can be called */
export function readTls(spec: unknown, namespace: string, warn: (message: string) => void): TlsEntry[] {
  const found: TlsEntry[] = [];
  for (const [n, item] of listOf(fieldsOf(spec)?.["tls"]).entries()) {
    const field = `spec.tls[${n}]`;
    const entry = fieldsOf(item);
    if (entry === null) continue;
    const hosts = listOf(entry["hosts"])
      .filter((host) => typeof host === "string")
      .map((host) => host.toLowerCase());
    const name = entry["secretName"];
    let secret: string | null = null;
    // Without a name the default certificate is asked for, as in ingress-nginx.
    if (typeof name === "string" && name !== "") {
      const reading = readSecretName(name, namespace);
      if (reading.ok) secret = reading.name;
      else
        warn(
          `${field}.secretName: ${quote(name)} ${reading.why}; its hosts are shown the default certificate`,
        );
    }
    found.push({ hosts, secret, field });
  }
  return found;
}
