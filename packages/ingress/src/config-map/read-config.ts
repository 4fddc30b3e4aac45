import { groups } from "../annotations/groups.ts";
import { answerHeaderNames } from "../header-values.ts";
import type { ListenerSettings } from "../listener-settings.ts";
import { fieldsOf, type KubeObject, type ObjectRef, quote } from "../objects.ts";
import { type AnnotationDefaults, annotationNamed, noDefaults } from "../read-annotations.ts";
import type { Verdict } from "../verdict.ts";
import { findConfigKey } from "./keys.ts";

/** A ConfigMap as ingress-nginx's users have it. */
export interface ConfigMap extends KubeObject {
  readonly data?: unknown;
}

export interface ReadConfig {
  readonly defaults: AnnotationDefaults;
  /** What it says of listeners. */
  readonly settings: Partial<ListenerSettings>;
  /** On the ConfigMap. */
  readonly verdicts: readonly Verdict[];
}

export interface ConfigName {
  readonly namespace: string;
  readonly name: string;
}

export function configRef({ namespace, name }: ConfigName, object: ConfigMap | null): ObjectRef {
  const uid = object?.metadata.uid;
  return { apiVersion: "v1", kind: "ConfigMap", namespace, name, ...(uid === undefined ? {} : { uid }) };
}

/** @param object null: the hub has none of that name */
export function readConfig(of: ConfigName, object: ConfigMap | null): ReadConfig {
  const ref = configRef(of, object);
  const verdicts: Verdict[] = [];
  const warn = (reason: Verdict["reason"], message: string) =>
    verdicts.push({ object: ref, type: "Warning", reason, message });
  const policies = Object.fromEntries(Object.keys(groups).map((group) => [group, {}])) as Record<
    keyof typeof groups,
    object
  >;
  const auth = {};
  const texts = new Map<string, string>();
  const protection: AnnotationDefaults["protection"][number][] = [];
  const settings: Partial<Record<keyof ListenerSettings, string | number | boolean>> = {};
  let forbidden: readonly string[] = [];
  let { inClear, answerHeaders } = noDefaults;
  const close = (key: string, why: string, unless: readonly string[]) => {
    protection.push({ why: `data[${key}] of ConfigMap ${of.namespace}/${of.name} (${why})`, unless });
    const who = unless.length === 0 ? "all objects" : `objects without ${unless.join(" and ")} of their own`;
    warn("ProtectionRefused", `data[${key}] ${why}; ${who} answer 503 until this is mended or removed`);
  };
  const ignored = new Map<string, string[]>();
  const ignore = (key: string, why: string) => ignored.set(why, [...(ignored.get(why) ?? []), key]);
  if (object === null)
    warn("ConfigMapMissing", "it is not there; create it, or start config-renderer without --configmap");

  for (const [key, value] of Object.entries(fieldsOf(object?.data) ?? {}).sort(([a], [b]) =>
    a < b ? -1 : 1,
  )) {
    // As in ingress-nginx an empty value is none.
    if (typeof value !== "string" || value.trim() === "") continue;
    const known = findConfigKey(key);
    if (known === undefined) {
      ignore(key, "no such key is known here");
    } else if (known.kind === "refused") {
      if (known.protects?.(value) === true) close(key, `cannot be given: ${known.why}`, []);
      else ignore(key, known.why);
    } else if (known.kind === "fixed") {
      if (value.trim() === known.value) continue;
      const what = `data[${key}]: ${quote(value)} is not used, ${known.value} holds`;
      warn("ConfigMapIgnored", `${what}: ${known.why}`);
    } else if (known.kind === "setting") {
      const reading = known.value.read(value);
      if (reading.ok) settings[known.setting] = reading.value;
      else {
        const { meanwhile, unsaid } = known;
        if (meanwhile !== undefined) settings[known.setting] = meanwhile.value;
        const holds = unsaid === "" ? "it is as if it were not there" : `${unsaid} holds`;
        warn(
          "ConfigMapInvalid",
          `data[${key}]: ${quote(value)} ${reading.why}; ${meanwhile?.what ?? holds} until then`,
        );
      }
    } else if (known.kind === "model") {
      const words = value.split(",").flatMap((word) => (word.trim() === "" ? [] : [word.trim()]));
      const allowed = key === "global-allowed-response-headers" ? answerHeaderNames.read(value) : null;
      if (key === "annotation-value-word-blocklist") forbidden = words;
      else if (allowed?.ok === true) answerHeaders = allowed.value;
      else if (allowed === null && words.length > 0 && words.every((word) => word.startsWith("/")))
        inClear = words;
      else
        warn(
          "ConfigMapInvalid",
          `data[${key}]: ${quote(value)} is not ${known.shape}; ${known.unsaid || "nothing"} holds until then`,
        );
    } else {
      const found = annotationNamed(known.annotation);
      if (found === undefined) {
        ignore(key, "not supported yet, nor are the annotations of these names");
        continue;
      }
      const { group, annotation } = found;
      const reading = annotation.read(value);
      if (reading.ok) {
        Object.assign(known.annotation.startsWith("auth-") ? auth : policies[group], reading.said);
        texts.set(known.annotation, value.trim());
      } else if (annotation.protects === true) {
        close(key, `${quote(value)} ${reading.why}`, overriding(known.annotation));
      } else {
        if (reading.meanwhile !== undefined) Object.assign(policies[group], reading.meanwhile.said);
        const unsaid =
          annotation.unsaid === "" ? "it is as if it were not there" : `${annotation.unsaid} holds`;
        const instead = reading.meanwhile?.what ?? unsaid;
        warn("ConfigMapInvalid", `data[${key}]: ${quote(value)} ${reading.why}; ${instead} until then`);
      }
    }
  }
  // Whoever brings his ConfigMap along has many of one kind.
  for (const [why, keys] of ignored) {
    const shown = keys.slice(0, 8).join(", ") + (keys.length > 8 ? ` and ${keys.length - 8} more` : "");
    warn("ConfigMapIgnored", `data: not used: ${shown}: ${why}`);
  }
  return {
    verdicts,
    settings: settings as Partial<ListenerSettings>,
    defaults: {
      policies: policies as AnnotationDefaults["policies"],
      auth,
      texts,
      protection,
      forbidden,
      inClear,
      answerHeaders,
    },
  };
}

/** Annotations by which an object says the same itself. */
function overriding(annotation: string): string[] {
  if (annotation === "whitelist-source-range") return ["allowlist-source-range", annotation];
  return annotation.startsWith("auth-") ? ["auth-url"] : [annotation];
}
