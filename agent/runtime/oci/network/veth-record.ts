/** The record of a sandbox's veth pair, in the container's directory: it tells a later agent which address is taken. */
import { join } from 'node:path';
import * as z from 'zod';
import { readIfThereSync, writeWhole } from '../../../../src/lib/whole-file.ts';

const RECORD = 'cable.json';

const Veth = z.object({ address: z.string(), device: z.string() });
export type Veth = z.infer<typeof Veth>;

/** Undefined if there is none. @throws Error if it cannot be read. */
export function readVeth(dir: string): Veth | undefined {
  const text = readIfThereSync(join(dir, RECORD));
  return text === undefined ? undefined : Veth.parse(JSON.parse(text));
}

/** Atomic. */
export async function writeVeth(dir: string, veth: Veth): Promise<void> {
  await writeWhole(join(dir, RECORD), JSON.stringify(veth));
}
