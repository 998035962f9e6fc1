import { readdir } from 'node:fs/promises';
import { isMissing } from './whole-file.ts';

/** Names of the entries of a directory; empty if there is none. @throws Error if it cannot be read. */
export async function namesIn(directory: string): Promise<string[]> {
  try {
    return await readdir(directory);
  } catch (error) {
    if (isMissing(error)) return [];
    throw error;
  }
}
