import type { JsonObject } from "./json.ts";

export interface Cause {
  reason: string;
  message: string;
  field?: string;
}

/** The kind an error is about: its group and plural resource or kind, whichever Kubernetes names there. */
export interface ErrorSubject {
  group: string;
  /** plural for notFound and conflict, kind for invalid. */
  name: string;
}

/** A refused request; `body` is the metav1.Status the client gets. Thrown by handlers, caught by the one dispatcher. */
export class ApiError extends Error {
  readonly code: number;
  readonly body: JsonObject;

  constructor(code: number, reason: string, message: string, details?: JsonObject) {
    super(message);
    this.name = "ApiError";
    this.code = code;
    this.body = {
      kind: "Status",
      apiVersion: "v1",
      metadata: {},
      status: "Failure",
      message,
      ...(reason === "" ? {} : { reason }),
      ...(details === undefined ? {} : { details }),
      code,
    };
  }
}

function qualified(subject: ErrorSubject): string {
  return subject.group === "" ? subject.name : `${subject.name}.${subject.group}`;
}

function detailsOf(subject: ErrorSubject, name: string, causes?: Cause[]): JsonObject {
  return {
    ...(name === "" ? {} : { name }),
    ...(subject.group === "" ? {} : { group: subject.group }),
    kind: subject.name,
    ...(causes === undefined ? {} : { causes: causes.map((cause) => ({ ...cause })) }),
  };
}

export function notFound(subject: ErrorSubject, name: string): ApiError {
  return new ApiError(404, "NotFound", `${qualified(subject)} "${name}" not found`, detailsOf(subject, name));
}

/** A path that no resource serves. */
export function pathNotFound(): ApiError {
  return new ApiError(404, "NotFound", "the server could not find the requested resource", {});
}

export function alreadyExists(subject: ErrorSubject, name: string): ApiError {
  const message = `${qualified(subject)} "${name}" already exists`;
  return new ApiError(409, "AlreadyExists", message, detailsOf(subject, name));
}

const MODIFIED_MESSAGE =
  "the object has been modified; please apply your changes to the latest version and try again";

export function conflict(subject: ErrorSubject, name: string, why: string = MODIFIED_MESSAGE): ApiError {
  const message = `Operation cannot be fulfilled on ${qualified(subject)} "${name}": ${why}`;
  return new ApiError(409, "Conflict", message, detailsOf(subject, name));
}

export function forbidden(subject: ErrorSubject, name: string, why: string, causes?: Cause[]): ApiError {
  const message = `${qualified(subject)} "${name}" is forbidden: ${why}`;
  return new ApiError(403, "Forbidden", message, detailsOf(subject, name, causes));
}

export function badRequest(message: string): ApiError {
  return new ApiError(400, "BadRequest", message);
}

/** One validation failure; the text of `message` is what follows "Invalid value: " and the like in Kubernetes. */
export interface FieldError {
  reason:
    | "FieldValueInvalid"
    | "FieldValueRequired"
    | "FieldValueNotSupported"
    | "FieldValueForbidden"
    | "FieldValueDuplicate"
    | "FieldValueTypeInvalid"
    | "FieldValueTooLong"
    | "FieldValueTooMany";
  field: string;
  message: string;
}

export function invalidValue(field: string, value: unknown, why: string): FieldError {
  return { reason: "FieldValueInvalid", field, message: `Invalid value: ${printed(value)}: ${why}` };
}

export function requiredValue(field: string, why = ""): FieldError {
  return {
    reason: "FieldValueRequired",
    field,
    message: why === "" ? "Required value" : `Required value: ${why}`,
  };
}

export function unsupportedValue(field: string, value: unknown, supported: unknown[]): FieldError {
  const list = supported.map((item) => JSON.stringify(item)).join(", ");
  const message = `Unsupported value: ${printed(value)}: supported values: ${list}`;
  return { reason: "FieldValueNotSupported", field, message };
}

export function duplicateValue(field: string, value: unknown): FieldError {
  return { reason: "FieldValueDuplicate", field, message: `Duplicate value: ${printed(value)}` };
}

export function forbiddenValue(field: string, why: string): FieldError {
  return { reason: "FieldValueForbidden", field, message: `Forbidden: ${why}` };
}

function printed(value: unknown): string {
  return JSON.stringify(value) ?? "null";
}

/** 422 with one cause per field, as field.ErrorList prints itself. */
export function invalid(kind: ErrorSubject, name: string, errors: FieldError[]): ApiError {
  const lines = errors.map((error) => `${error.field}: ${error.message}`);
  const text = lines.length === 1 ? lines[0] : `[${lines.join(", ")}]`;
  const causes = errors.map(({ reason, field, message }) => ({ reason, message, field }));
  const message = `${qualified(kind)} "${name}" is invalid: ${text}`;
  return new ApiError(422, "Invalid", message, detailsOf(kind, name, causes));
}

export function expired(message: string): ApiError {
  return new ApiError(410, "Expired", message);
}

export function unauthorized(): ApiError {
  return new ApiError(401, "Unauthorized", "Unauthorized");
}

export function methodNotAllowed(): ApiError {
  return new ApiError(
    405,
    "MethodNotAllowed",
    "the server does not allow this method on the requested resource",
    {},
  );
}

export function unsupportedMediaType(supported: string[]): ApiError {
  const list = supported.join(", ");
  const message = `the body of the request was in an unknown format - accepted media types include: ${list}`;
  return new ApiError(415, "UnsupportedMediaType", message, {});
}

export function tooLarge(limit: number): ApiError {
  const message = `Request entity too large: limit is ${limit}`;
  return new ApiError(413, "RequestEntityTooLarge", message, {});
}
