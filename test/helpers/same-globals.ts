/**
 * Unit test files share a process. A file that leaves a clock or timer replaced would make later ones hang, far from
 * the cause: so the next file reports the culprit.
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
