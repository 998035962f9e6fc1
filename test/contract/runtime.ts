/** What the chosen runtime cannot do by its nature. The table in docs/runtimes.md says the same. */
import { chosenRuntime } from '../helpers/config.ts';

export type RuntimeCapability =
  /** Running out of memory ends one program, not the sandbox. */
  | 'memoryKill'
  /** A program that shed its session, parent and environment can still be traced to its command. */
  | 'marks';

const GVISOR: Record<RuntimeCapability, string> = {
  memoryKill: 'gVisor is one program to the node: memory that runs out ends it whole',
  marks: 'boxinit cannot read the mark of a program in gVisor',
};

export const runtimeLacks = (): Partial<Record<RuntimeCapability, string>> =>
  chosenRuntime() === 'gvisor' ? GVISOR : {};
