// Values of annotations about headers of requests and answers.

import { reader, type ValueReader } from "./annotation-values.ts";
import { isAnswerHeader } from "./answer-headers.ts";

const MAX_ORIGINS = 64;
const ORIGIN = /^[a-z]+:\/\/(\*\.)?[A-Za-z0-9.-]+(:[0-9]{1,5})?$/;

/** `*` alone, or among others, is every origin, as in ingress-nginx. */
export const origins: ValueReader<readonly string[]> = reader(
  `* or up to ${MAX_ORIGINS} origins such as https://shop.example.test, https://*.example.test:8443 or null, with commas between`,
  (text) => {
    const given = text
      .split(",")
      .map((each) => each.trim())
      .filter((each) => each !== "");
    if (given.includes("*")) return ["*"];
    const good = given.every((each) => each.length <= 300 && (each === "null" || ORIGIN.test(each)));
    if (!good || given.length === 0 || given.length > MAX_ORIGINS) return null;
    return [...new Set(given.map((each) => each.toLowerCase()))];
  },
);

const MAX_LIST = 2048;

function list(shape: string, item: RegExp): ValueReader<string> {
  return reader(shape, (text) => {
    if (text.length > MAX_LIST) return null;
    const items = text.split(",").map((each) => each.trim());
    return items.every((each) => item.test(each)) ? text : null;
  });
}

export const methods: ValueReader<string> = list("methods with commas between", /^[A-Za-z]+$/);
export const headerNames: ValueReader<string> = list(
  "names of headers with commas between",
  /^[A-Za-z0-9_-]+$/,
);
export const exposedHeaders: ValueReader<string> = list(
  "names of headers, or *, with commas between",
  /^([A-Za-z0-9_-]+|\*)$/,
);

/** Text of a cookie's attribute. */
const VALUE = /^[\x21-\x23\x25-\x3a\x3c-\x7e]{1,1024}$/;

/** @returns null: nothing is changed */
export const cookieChange: ValueReader<{ readonly from: string; readonly to: string } | "off"> = reader(
  "off, or what stands there and what shall, with a blank between: printable ASCII without ; and $, and no regular expression",
  (text) => {
    if (text === "off") return "off";
    const [from = "", to = "", ...more] = text.split(/ +/);
    if (more.length > 0 || from.startsWith("~") || !VALUE.test(from) || !VALUE.test(to)) return null;
    return { from, to };
  },
);

/** What it names is read where the object's namespace is known. */
export const configMapName: ValueReader<string> = reader(
  "the name of a ConfigMap of the object's namespace",
  (text) => (/^[-a-z0-9.]{1,253}(\/[-a-z0-9.]{1,253})?$/.test(text) ? text : null),
);

const MAX_NAMES = 1000;

/** @returns in lower case */
export const answerHeaderNames: ValueReader<ReadonlySet<string>> = reader(
  `up to ${MAX_NAMES} names of headers, of letters, digits and -, with commas between, none of those that frame an answer`,
  (text) => {
    const names = text.split(",").flatMap((each) => (each.trim() === "" ? [] : [each.trim()]));
    if (names.length === 0 || names.length > MAX_NAMES || !names.every(isAnswerHeader)) return null;
    return new Set(names.map((name) => name.toLowerCase()));
  },
);

const MAX_CODES = 64;

export const errorCodes: ValueReader<readonly number[]> = reader(
  `up to ${MAX_CODES} statuses from 400 to 599 with commas between`,
  (text) => {
    const items = text.split(",").map((each) => each.trim());
    if (items.length > MAX_CODES || !items.every((each) => /^[45][0-9]{2}$/.test(each))) return null;
    return [...new Set(items.map(Number))].sort((a, b) => a - b);
  },
);
