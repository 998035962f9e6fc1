/**
 * Files of unit tests share a process. One that leaves a clock or a timer replaced lets later ones wait for ever, far from
 * the cause: the next file says which it was.
 */
import { expect } from 'vitest';

const look = (): unknown[] => [
  setTimeout,
  clearTimeout,
  setInterval,
  clearInterval,
  setImmediate,
  Date,
  performance.now,
];

interface Memory {
  readonly globals: readonly unknown[];
  file: string | undefined;
}

const KEY = Symbol.for('millibox: globals at the start of the tests');
const memories = globalThis as { [KEY]?: Memory };
const memory = (memories[KEY] ??= { globals: look(), file: undefined });
const left = look().filter((each, i) => each !== memory.globals[i]);
if (left.length > 0) throw new Error(`${memory.file} has left replaced: ${left.map(String).join(', ').slice(0, 200)}`);
memory.file = expect.getState().testPath;
