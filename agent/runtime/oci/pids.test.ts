import fs from 'node:fs';
import { expect, test, vi } from 'vitest';
import { spyOfBuiltin } from '../../../test/helpers/spy-of-builtin.ts';
import { identify, isAlive, killProcess } from './pids.ts';

const readFile = spyOfBuiltin(vi.spyOn(fs, 'readFileSync'));

const NOBODY = 2 ** 22 + 1;

test('a process is identified by its pid and start time', () => {
  const self = identify(process.pid);
  expect(self).toMatchObject({ pid: process.pid });
  expect(isAlive({ pid: process.pid, startTime: self?.startTime ?? 0 })).toBe(true);
  expect(isAlive({ pid: process.pid, startTime: (self?.startTime ?? 0) + 1 })).toBe(false);
  expect(identify(NOBODY)).toBeUndefined();
});

test('a process that cannot be inspected does not pass for dead, and is not killed', () => {
  const self = identify(process.pid) ?? { pid: 0, startTime: 0 };
  const full = (): never => {
    throw Object.assign(new Error('too many open files'), { code: 'EMFILE' });
  };
  readFile.mockImplementationOnce(full).mockImplementationOnce(full).mockImplementationOnce(full);
  expect(isAlive(self)).toBe(true);
  expect(isAlive({ pid: NOBODY, startTime: 1 })).toBe(false);
  expect(() => killProcess({ pid: NOBODY, startTime: 1 })).toThrow('too many open files');
});
