import type { ValueReader } from "../annotation-values.ts";

export type SaidReading<Said> =
  | { readonly ok: true; readonly said: Partial<Said> }
  | {
      readonly ok: false;
      readonly why: string;
      /** What holds until it is mended, where that is not what holds when nothing is said. */
      readonly meanwhile?: { readonly said: Partial<Said>; readonly what: string };
    };

/** One annotation that says one field of a `Said`. */
export interface Annotation<Said> {
  /** Behind `nginx.ingress.kubernetes.io/`. */
  readonly name: string;
  readonly shape: string;
  /** What holds when nothing is said, as a user would write it; empty: nothing. */
  readonly unsaid: string;
  /** What a user of ingress-nginx would not expect, or what stands behind it. */
  readonly note: string;
  /** It keeps others out: where its text is not of its shape, its object is not served. */
  readonly protects?: true;
  /** @returns what it says, or what is wrong with the text */
  read(text: string): SaidReading<Said>;
}

export function protecting<Said>(annotation: Annotation<Said>): Annotation<Said> {
  return { ...annotation, protects: true };
}

/** @returns what makes annotations that say fields of a `Said` */
export function saying<Said>() {
  return <K extends keyof Said>(
    name: string,
    key: K,
    value: ValueReader<NonNullable<Said[K]>>,
    unsaid: string,
    note = "",
  ): Annotation<Said> => ({
    name,
    shape: value.shape,
    unsaid,
    note,
    read: (text) => {
      const reading = value.read(text);
      return reading.ok ? { ok: true, said: { [key]: reading.value } as unknown as Partial<Said> } : reading;
    },
  });
}
