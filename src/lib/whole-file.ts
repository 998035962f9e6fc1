/** Small files that are written and read atomically: a reader finds the old content or the new, never a part. */
import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import { readFile, rename, writeFile } from 'node:fs/promises';

const PRIVATE = { mode: 0o600 } as const;

/** Writers of one path must take turns: they share a temporary name. @throws Error of the file system. */
export async function writeWhole(path: string, text: string): Promise<void> {
  await writeFile(`${path}.new`, text, PRIVATE);
  await rename(`${path}.new`, path);
}

/** As `writeWhole`, for when nothing may happen between a change and its record. */
export function writeWholeSync(path: string, text: string): void {
  writeFileSync(`${path}.new`, text, PRIVATE);
  renameSync(`${path}.new`, path);
}

/** Undefined if there is no such file. @throws Error if it cannot be read. */
export async function readIfThere(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw error;
  }
}

/** As `readIfThere`. */
export function readIfThereSync(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw error;
  }
}

/** Whether a call failed because the file does not exist (ENOENT). */
export const isMissing = (error: unknown): boolean => (error as NodeJS.ErrnoException).code === 'ENOENT';
