// How the text of an annotation becomes a value: what is not of the shape is refused, never mended.

export type ValueReading<T> =
  | { readonly ok: true; readonly value: T }
  | { readonly ok: false; readonly why: string };

export interface ValueReader<T> {
  /** What may be written, for messages and for the reference, e.g. `seconds, 1 to 86400`. */
  readonly shape: string;
  read(text: string): ValueReading<T>;
}

const read = <T>(value: T): ValueReading<T> => ({ ok: true, value });

function reader<T>(shape: string, of: (text: string) => T | null): ValueReader<T> {
  return {
    shape,
    read: (text) => {
      const value = of(text.trim());
      return value === null ? { ok: false, why: `is not ${shape}` } : read(value);
    },
  };
}

function within(value: number, [min, max]: readonly [number, number]): number | null {
  return Number.isSafeInteger(value) && value >= min && value <= max ? value : null;
}

export function wholeNumber(bounds: readonly [number, number]): ValueReader<number> {
  return reader(`a whole number, ${bounds[0]} to ${bounds[1]}`, (text) =>
    /^[0-9]{1,15}$/.test(text) ? within(Number(text), bounds) : null,
  );
}

/** As ingress-nginx writes times: a number of seconds, without a unit. @returns milliseconds */
export function seconds(boundsMs: readonly [number, number]): ValueReader<number> {
  const [min, max] = [Math.ceil(boundsMs[0] / 1000), Math.floor(boundsMs[1] / 1000)];
  return reader(`a whole number of seconds without a unit, ${min} to ${max}`, (text) =>
    /^[0-9]{1,9}$/.test(text) ? within(Number(text) * 1000, [min * 1000, max * 1000]) : null,
  );
}

const UNITS: Readonly<Record<string, number>> = { "": 1, b: 1, k: 2 ** 10, m: 2 ** 20, g: 2 ** 30 };

/** As nginx writes sizes. @returns bytes */
export function size(bounds: readonly [number, number]): ValueReader<number> {
  const shape = `a size such as 8k, 10m or 1g, ${bytes(bounds[0])} to ${bytes(bounds[1])}`;
  return reader(shape, (text) => {
    const match = /^([0-9]{1,12})([bkmg]?)$/i.exec(text);
    if (match === null) return null;
    return within(Number(match[1]) * (UNITS[(match[2] ?? "").toLowerCase()] ?? Number.NaN), bounds);
  });
}

function bytes(value: number): string {
  const [unit, factor] = Object.entries(UNITS).findLast(([, f]) => value >= f && value % f === 0) ?? ["", 1];
  return `${value / factor}${unit}`;
}

export const onOff: ValueReader<boolean> = reader("on or off", (text) =>
  text === "on" ? true : text === "off" ? false : null,
);

export function oneOf<T extends string>(...values: readonly T[]): ValueReader<T> {
  return reader(`one of ${values.join(", ")}`, (text) => values.find((value) => value === text) ?? null);
}

/** Words of a list, in any order. @returns them sorted, each once, with a blank between */
export function words(allowed: readonly string[]): ValueReader<string> {
  return reader(`words of ${allowed.join(", ")}`, (text) => {
    const given = [...new Set(text.split(/\s+/))].sort();
    return given.length > 0 && given.every((each) => allowed.includes(each)) ? given.join(" ") : null;
  });
}

/** Printable ASCII without a blank, and no `$`: in ingress-nginx's configuration it would begin a variable. */
const PLAIN = /^[\x21-\x23\x25-\x7e]{1,2048}$/;

export const webUrl: ValueReader<string> = reader(
  "an absolute http or https URL of printable ASCII without $",
  (text) => {
    if (!PLAIN.test(text) || !/^https?:\/\//i.test(text) || !URL.canParse(text)) return null;
    return text.replace(/^https?/i, (scheme) => scheme.toLowerCase());
  },
);

/** `//host` would be another host. */
export const hostPath: ValueReader<string> = reader(
  "a path that begins with one /, of printable ASCII without $",
  (text) => (PLAIN.test(text) && /^\/(?![/\\])/.test(text) ? text : null),
);
