import { asKube, isObject, type JsonObject, type KubeObject } from "../json.ts";
import type { ServedType } from "../kinds/catalog.ts";
import { apiVersionOf, kindSubject } from "../kinds/resource-type.ts";
import { shapeObject } from "../schema/shape.ts";
import { badRequest, invalid, invalidValue } from "../status.ts";
import type { WriteOptions } from "./world.ts";

/**
 * A document as the kind's type: unknown fields pruned, defaults in. `from` says where it came from, for Kubernetes
 * answers an ill-formed body with 400 and an ill-formed result of a patch with 422.
 */
export function decodeObject(
  body: JsonObject,
  served: ServedType,
  options: WriteOptions,
  from: "body" | "patch" | "apply",
): KubeObject {
  const { type, version } = served;
  const apiVersion = apiVersionOf(type.group, version.name);
  checkIdentity(body, served);
  const shaped = shapeObject({ ...body, apiVersion, kind: type.kind }, version.schema, type.kind, {
    typed: !type.custom,
    defaults: true,
  });
  const refuse = (why: string) => {
    if (from === "body") {
      return badRequest(
        `${type.kind} in version "${version.name}" cannot be handled as a ${type.kind}: ${why}`,
      );
    }
    return invalid({ group: "", name: "" }, "", [invalidValue("patch", JSON.stringify(body), why)]);
  };
  if (shaped.mismatch !== undefined) throw refuse(shaped.mismatch);
  const unknown = shaped.unknown.map((path) => `unknown field "${path}"`);
  if (unknown.length > 0 && from !== "apply") {
    if (options.fieldValidation === "Strict") throw refuse(`strict decoding error: ${unknown.join(", ")}`);
    if (options.fieldValidation === "Warn") options.warnings.push(...unknown);
  }
  return asKube(shaped.value);
}

function checkIdentity(body: JsonObject, { type, version }: ServedType): void {
  const apiVersion = apiVersionOf(type.group, version.name);
  if (body.apiVersion !== undefined && body.apiVersion !== apiVersion) {
    throw badRequest(
      `the API version in the data (${String(body.apiVersion)}) does not match the expected API version (${apiVersion})`,
    );
  }
  if (body.kind !== undefined && body.kind !== type.kind) {
    const gvk = `${apiVersion}, Kind=${String(body.kind)}`;
    throw badRequest(
      `${String(body.kind)} in version "${version.name}" cannot be handled as a ${type.kind}: no kind "${String(body.kind)}" is registered for version "${gvk}"`,
    );
  }
  if (body.metadata !== undefined && !isObject(body.metadata)) {
    throw invalid(kindSubject(type), "", [invalidValue("metadata", body.metadata, "must be an object")]);
  }
}
