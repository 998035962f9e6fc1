import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { rotateLog } from './log-file.ts';

test('a log that has grown too long is moved aside while its writer keeps writing', () => {
  const directory = mkdtempSync(join(tmpdir(), 'mbx-log-'));
  const path = join(directory, 'part.log');
  const log = openSync(path, 'a');
  try {
    writeSync(log, 'first\n');
    rotateLog(path, 100);
    expect(readFileSync(path, 'utf8')).toBe('first\n');
    rotateLog(path, 5);
    writeSync(log, 'second\n');
    expect(readFileSync(`${path}.1`, 'utf8')).toBe('first\n');
    expect(readFileSync(path, 'utf8')).toBe('second\n');
  } finally {
    closeSync(log);
    rmSync(directory, { recursive: true, force: true });
  }
});
