// Headers of answers that a ConfigMap holds, of which annotations name one (custom-headers).
import type { AnswerHeaders } from "@sluice/contracts";
import type { CompiledPath } from "./compile-ingress.ts";
import type { ConfigMap } from "./config-map/read-config.ts";
import { readObjectName } from "./object-name.ts";
import { fieldsOf, quote } from "./objects.ts";
import type { Reason } from "./verdict.ts";

/** By `namespace/name`. null: the hub has none of that name; undefined: nobody could look at it yet. */
export type ConfigMapLookup = (key: string) => ConfigMap | null | undefined;

/** As many as a row holds. */
const MOST = 64;
const MOST_BYTES = 4096;
const NAME = /^[A-Za-z0-9-]{1,128}$/;
const VALUE = /^[\x20-\x7e]+$/;
/** They say where an answer ends and how it is sent, which nginx alone knows; and what is ours. */
const FRAMING: ReadonlySet<string> = new Set([
  "connection",
  "content-encoding",
  "content-length",
  "date",
  "keep-alive",
  "proxy-connection",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade",
  "x-sluice-reason",
]);
const FIELD = "metadata.annotations[nginx.ingress.kubernetes.io/custom-headers]";

/** Whether an answer may be given a header of this name. */
export function isAnswerHeader(name: string): boolean {
  return NAME.test(name) && !FRAMING.has(name.toLowerCase());
}

export interface AnswerHeaderSource {
  readonly namespace: string;
  /** Names that a ConfigMap may hold, in lower case. */
  readonly allowed: ReadonlySet<string>;
  readonly configMaps: ConfigMapLookup;
  warn(reason: Reason, message: string): void;
}

/** @param named as the annotation has it @returns `namespace/name` of the ConfigMap; null: none that may be read */
function keyOf(named: string, { namespace, warn }: AnswerHeaderSource): string | null {
  const name = readObjectName("ConfigMap", named, namespace);
  if (name.ok) return `${name.namespace}/${name.name}`;
  warn("AnnotationInvalid", `${FIELD}: ${quote(named)} ${name.why}; no header is set until then`);
  return null;
}

function problemOf(name: string, value: unknown, allowed: ReadonlySet<string>): string | null {
  if (!NAME.test(name)) return "is no name of a header (letters, digits and -); remove the key";
  if (FRAMING.has(name.toLowerCase())) return "is nginx's own to say; remove the key";
  if (!allowed.has(name.toLowerCase())) {
    return (
      "is not allowed; name it in global-allowed-response-headers of the ConfigMap that --configmap of config-renderer " +
      "names, or remove the key"
    );
  }
  if (typeof value !== "string" || !VALUE.test(value) || value.length > MOST_BYTES) {
    return `holds ${quote(value)}, which is not 1 to ${MOST_BYTES} characters of printable ASCII; write such a value`;
  }
  return null;
}

function headersOf(key: string, { allowed, configMaps, warn }: AnswerHeaderSource): AnswerHeaders {
  const object = configMaps(key);
  if (object === undefined || object === null) {
    const what =
      object === null
        ? "is missing; create it"
        : "has not been read; let config-renderer read it, if it may not";
    warn("ConfigMapMissing", `${FIELD}: ConfigMap ${key} ${what}. No header is set until then`);
    return [];
  }
  const headers: AnswerHeaders = [];
  for (const [name, value] of Object.entries(fieldsOf(object.data) ?? {}).sort(([a], [b]) =>
    a < b ? -1 : 1,
  )) {
    const problem =
      headers.length < MOST ? problemOf(name, value, allowed) : `is one of more than ${MOST}; remove some`;
    if (problem === null) headers.push({ name, value: String(value).trim() });
    else {
      const where = `${FIELD}: ConfigMap ${key}, data[${quote(name)}]`;
      warn("ConfigMapInvalid", `${where} ${problem}. It is not set until then`);
    }
  }
  return headers;
}

/**
 * The same paths with the headers that their answers get. They have the key where no header is there, too: then one that
 * comes is data, and reloads nothing.
 * @param named the annotation; undefined: nothing is said
 * @returns and the ConfigMap that a change of would change them, as `namespace/name`; null: none
 */
export function answered(
  paths: readonly CompiledPath[],
  named: string | undefined,
  source: AnswerHeaderSource,
): { readonly paths: CompiledPath[]; readonly configMap: string | null } {
  const configMap = named === undefined ? null : keyOf(named, source);
  if (configMap === null) return { paths: [...paths], configMap };
  const answerHeaders = headersOf(configMap, source);
  return {
    paths: paths.map((path) => ({ ...path, policy: { ...path.policy, answerHeaders } })),
    configMap,
  };
}
