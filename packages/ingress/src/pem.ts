/** One block of a PEM text (RFC 7468). */
export interface PemBlock {
  /** E.g. `CERTIFICATE`. */
  readonly label: string;
  /** With its BEGIN and END lines. */
  readonly text: string;
}

const BEGIN = "-----BEGIN ";
const DASHES = "-----";

/** The first blocks of a text; what stands between them is no matter. Takes O(length × most), whatever the text is. */
export function pemBlocks(text: string, most: number): PemBlock[] {
  const blocks: PemBlock[] = [];
  let at = text.indexOf(BEGIN);
  for (let tried = 0; at !== -1 && tried < most; tried += 1) {
    const labelAt = at + BEGIN.length;
    const labelEnd = text.indexOf(DASHES, labelAt);
    if (labelEnd === -1) break;
    const label = text.slice(labelAt, labelEnd);
    const end = `-----END ${label}-----`;
    const endAt = /^[A-Z0-9 ]{1,64}$/.test(label) ? text.indexOf(end, labelEnd) : -1;
    if (endAt !== -1) blocks.push({ label, text: `${text.slice(at, endAt + end.length)}\n` });
    at = text.indexOf(BEGIN, endAt === -1 ? labelEnd : endAt + end.length);
  }
  return blocks;
}
