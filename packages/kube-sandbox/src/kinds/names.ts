import { type FieldError, invalidValue } from "../status.ts";

const LABEL = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?$/;
const LABEL_1035 = /^[a-z]([-a-z0-9]*[a-z0-9])?$/;
const SUBDOMAIN = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/;
const LABEL_VALUE = /^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$/;

const LABEL_TEXT =
  "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const LABEL_1035_TEXT =
  "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')";
const SUBDOMAIN_TEXT =
  "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const LABEL_VALUE_TEXT =
  "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";

const RULES = {
  subdomain: { pattern: SUBDOMAIN, limit: 253, text: SUBDOMAIN_TEXT },
  label: { pattern: LABEL, limit: 63, text: LABEL_TEXT },
  "label-1035": { pattern: LABEL_1035, limit: 63, text: LABEL_1035_TEXT },
} as const;

export function checkName(value: string, rule: keyof typeof RULES, field: string): FieldError[] {
  const { pattern, limit, text } = RULES[rule];
  const errors: FieldError[] = [];
  if (value.length > limit)
    errors.push(invalidValue(field, value, `must be no more than ${limit} characters`));
  if (!pattern.test(value)) errors.push(invalidValue(field, value, text));
  return errors;
}

export function checkLabels(labels: { [key: string]: string }, field: string): FieldError[] {
  const errors: FieldError[] = [];
  for (const value of Object.values(labels)) {
    if (value.length > 63) errors.push(invalidValue(field, value, "must be no more than 63 characters"));
    else if (!LABEL_VALUE.test(value)) errors.push(invalidValue(field, value, LABEL_VALUE_TEXT));
  }
  return errors;
}

// No vowels and no look-alikes, as in Kubernetes, so that no word comes out by chance.
const SUFFIX_LETTERS = "bcdfghjklmnpqrstvwxz2456789";

/** `prefix` with five random letters; the prefix is cut so that the name fits 63 characters. */
export function generatedName(prefix: string): string {
  let suffix = "";
  for (let i = 0; i < 5; i++)
    suffix += SUFFIX_LETTERS[Math.floor(Math.random() * SUFFIX_LETTERS.length)] ?? "b";
  return prefix.slice(0, 58) + suffix;
}
