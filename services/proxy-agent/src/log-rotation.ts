import { rename, stat } from "node:fs/promises";

/** Bytes of a log file at which a new one is begun; the one before is kept. */
const MOST_LOG_BYTES = 64 * 1024 * 1024;

/**
 * Keeps a log file from growing without end: above `most` bytes it becomes `<path>.1`, in place of the one before.
 * @returns whether nginx must open its logs anew
 */
export async function rotated(path: string, most = MOST_LOG_BYTES): Promise<boolean> {
  const size = await stat(path).then(
    (found) => (found.isFile() ? found.size : 0),
    (error: NodeJS.ErrnoException) => {
      if (error.code === "ENOENT") return 0;
      throw error;
    },
  );
  if (size <= most) return false;
  await rename(path, `${path}.1`);
  return true;
}
