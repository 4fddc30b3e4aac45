import stringWidth from "string-width";

/** Columns as wide as their widest cell, two blanks between. */
export function columns(rows: readonly (readonly string[])[]): string[] {
  const growing = growingColumns();
  for (const row of rows) growing(row);
  return rows.map(growing);
}

/** The same for rows that are not all known yet: a column is as wide as its widest cell so far. */
export function growingColumns(least: readonly number[] = []): (row: readonly string[]) => string {
  const widths = [...least];
  return (row) => {
    for (const [i, cell] of row.entries()) widths[i] = Math.max(widths[i] ?? 0, stringWidth(cell));
    return row
      .map((cell, i) => cell + " ".repeat((widths[i] ?? 0) - stringWidth(cell)))
      .join("  ")
      .trimEnd();
  };
}
