import { cookieName, oneOf, trueFalse, wholeNumber } from "../annotation-values.ts";
import type { CanaryPolicy } from "../canary.ts";
import { headerRegex, headerText, headerVariable } from "../canary-values.ts";
import { type Annotation, saying } from "./annotation.ts";

const canary = saying<CanaryPolicy>();

const WEIGHTS = [0, 1_000_000] as const;

/** What may mean that an object is one must not make it an ordinary one, which takes all requests of its paths. */
function doubtful(annotation: Annotation<CanaryPolicy>): Annotation<CanaryPolicy> {
  const meanwhile = { said: {}, what: "its object takes no request" };
  return {
    ...annotation,
    read: (text) => {
      const reading = annotation.read(text);
      return reading.ok ? reading : { ...reading, meanwhile };
    },
  };
}

/** An object that takes some of another one's requests. */
export const canaryAnnotations: readonly Annotation<CanaryPolicy>[] = [
  doubtful(
    canary(
      "canary",
      "canary",
      trueFalse,
      "false",
      "true: each path of this object stands beside the same host, type and path of another object of its namespace, and " +
        "takes those of its requests that the following say",
    ),
  ),
  canary(
    "canary-by-header",
    "header",
    headerVariable,
    "",
    "asked first: always goes to the canary, never does not, any other value leaves it to the next",
  ),
  canary(
    "canary-by-header-value",
    "headerValue",
    headerText,
    "",
    "in place of always: this value goes to the canary, any other, always and never too, is left to the next",
  ),
  canary(
    "canary-by-header-pattern",
    "headerPattern",
    headerRegex,
    "",
    "the same with what is found in the value; not where canary-by-header-value is said. A match that takes too long " +
      "leaves the request with the other object",
  ),
  canary("canary-by-cookie", "cookie", cookieName, "", "asked second: a cookie that says always or never"),
  canary(
    "canary-weight",
    "weight",
    wholeNumber(WEIGHTS),
    "0",
    "asked last: so many of canary-weight-total, by chance",
  ),
  canary("canary-weight-total", "weightTotal", wholeNumber(WEIGHTS), "100", "less than 100 is 100"),
  canary(
    "affinity-canary-behavior",
    "affinityBehavior",
    oneOf("sticky", "legacy"),
    "sticky",
    "said by the canary. sticky: where the other object has sessions by cookie, a session stays on the side on which it " +
      "began, whatever the rest says. legacy: each request is judged by itself, and each side has the sessions that its own object asks for",
  ),
];
