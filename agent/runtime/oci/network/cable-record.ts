/** The record of a sandbox's cable, in the container's directory: a later agent finds there which address is taken. */
import { readFileSync } from 'node:fs';
import { rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import * as z from 'zod';

const RECORD = 'cable.json';

const Cable = z.object({ address: z.string(), device: z.string() });
export type Cable = z.infer<typeof Cable>;

/** Undefined if there is none. @throws Error if it cannot be read. */
export function readCable(dir: string): Cable | undefined {
  try {
    return Cable.parse(JSON.parse(readFileSync(join(dir, RECORD), 'utf8')));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

/** Atomic. */
export async function writeCable(dir: string, cable: Cable): Promise<void> {
  const path = join(dir, RECORD);
  await writeFile(`${path}.new`, JSON.stringify(cable), { mode: 0o600 });
  await rename(`${path}.new`, path);
}
