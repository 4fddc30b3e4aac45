import { rename, writeFile } from "node:fs/promises";

/** Replaces a file that only its owner may read, as a whole. */
export async function replaceFile(path: string, text: string): Promise<void> {
  const next = `${path}.next`;
  await writeFile(next, text, { mode: 0o600 });
  await rename(next, path);
}
