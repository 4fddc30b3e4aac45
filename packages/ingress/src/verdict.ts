import type { ObjectRef } from "./objects.ts";

/** What is to be said of an object: output of the model, written to the API by somebody else. */
export interface Verdict {
  readonly object: ObjectRef;
  readonly type: "Normal" | "Warning";
  /** CamelCase, from the list in `Reason`. */
  readonly reason: Reason;
  /** Names the field and the remedy. */
  readonly message: string;
}

export type Reason =
  | "AnnotationInvalid"
  | "AnnotationsIgnored"
  | "AnnotationRefused"
  | "BackendInvalid"
  | "BackendUnsupported"
  | "CertificateExpired"
  | "CertificateExpiring"
  | "CertificateForAnotherName"
  | "CertificateNotYetValid"
  | "CanaryUnused"
  | "ClassUnknown"
  | "ConfigMapIgnored"
  | "ConfigMapInvalid"
  | "ConfigMapMissing"
  | "FromClustersInvalid"
  | "HostInvalid"
  | "HostTaken"
  | "ImportInvalid"
  | "ImportMissing"
  | "MoreProblems"
  | "NoRoom"
  | "PathInvalid"
  | "PathTaken"
  | "PathTypeInvalid"
  | "PortMismatch"
  | "PortMissing"
  | "ProfileLimit"
  | "ProfileRefused"
  | "ProtectionRefused"
  | "RuleInvalid"
  | "SecretInvalid"
  | "SecretMissing"
  | "SettingRefused"
  | "SpecInvalid"
  | "TlsNotServed";

/** Said of one object at most; an object with ten thousand bad paths gets this many Events, not ten thousand. */
const MAX_PER_OBJECT = 16;

/** An Event's text holds 1,024 bytes. */
const MAX_MESSAGE = 900;

/** Names that a user wrote stand in messages as they are; here they lose what a terminal or a log would obey. */
function showable(verdict: Verdict): Verdict {
  const { message } = verdict;
  // biome-ignore lint/suspicious/noControlCharactersInRegex: finding them is the point
  const plain = message.toWellFormed().replace(/[\x00-\x1f\x7f-\x9f]/g, " ");
  const short = plain.length > MAX_MESSAGE ? `${plain.slice(0, MAX_MESSAGE)}…` : plain;
  return short === message ? verdict : { ...verdict, message: short };
}

export function bounded(verdicts: readonly Verdict[]): readonly Verdict[] {
  if (verdicts.length <= MAX_PER_OBJECT) return verdicts.map(showable);
  const kept = verdicts.slice(0, MAX_PER_OBJECT - 1).map(showable);
  const first = verdicts[0] as Verdict;
  const rest = verdicts.length - kept.length;
  kept.push({
    object: first.object,
    type: "Warning",
    reason: "MoreProblems",
    message: `${rest} more problems of this object are not listed; mend the others first`,
  });
  return kept;
}
