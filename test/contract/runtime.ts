/** What the chosen runtime cannot keep, by its nature. The table in docs/runtimes.md says the same. */
import { chosenRuntime } from '../helpers/config.ts';

export type RuntimeCapability =
  /** Memory that runs out ends one program, not the sandbox. */
  | 'memoryKill'
  /** A program that left session, parent and environment is still known as its command's. */
  | 'marks';

const GVISOR: Record<RuntimeCapability, string> = {
  memoryKill: 'gVisor is one program to the node: memory that runs out ends it whole',
  marks: 'boxinit cannot read the mark of a program in gVisor',
};

export const runtimeLacks = (): Partial<Record<RuntimeCapability, string>> =>
  chosenRuntime() === 'gvisor' ? GVISOR : {};
