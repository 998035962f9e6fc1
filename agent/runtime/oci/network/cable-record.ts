/** The record of a sandbox's veth pair, in the container's directory: it tells a later agent which address is taken. */
import { join } from 'node:path';
import * as z from 'zod';
import { readIfThereSync, writeWhole } from '../../../../src/lib/whole-file.ts';

const RECORD = 'cable.json';

const Cable = z.object({ address: z.string(), device: z.string() });
export type Cable = z.infer<typeof Cable>;

/** Undefined if there is none. @throws Error if it cannot be read. */
export function readCable(dir: string): Cable | undefined {
  const text = readIfThereSync(join(dir, RECORD));
  return text === undefined ? undefined : Cable.parse(JSON.parse(text));
}

/** Atomic. */
export async function writeCable(dir: string, cable: Cable): Promise<void> {
  await writeWhole(join(dir, RECORD), JSON.stringify(cable));
}
