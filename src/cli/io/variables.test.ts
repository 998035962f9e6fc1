import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, describe, expect, test, vi } from 'vitest';
import { envPair, filePair } from './variables.ts';

const directory = mkdtempSync(join(tmpdir(), 'variables-'));
afterAll(() => rmSync(directory, { recursive: true }));
afterEach(() => vi.unstubAllEnvs());

function file(bytes: string | Buffer): string {
  const path = join(directory, 'value');
  writeFileSync(path, bytes);
  return path;
}

describe('a variable', () => {
  test('given with a value has it, even an empty one', () => {
    expect(envPair('A=b=c', envPair('X='))).toEqual({ X: '', A: 'b=c' });
  });

  test('given by name has its value from the environment, even an empty one', () => {
    vi.stubEnv('MILLIBOX_TRIAL', 'from here');
    vi.stubEnv('MILLIBOX_EMPTY', '');
    expect(envPair('MILLIBOX_EMPTY', envPair('MILLIBOX_TRIAL'))).toEqual({
      MILLIBOX_TRIAL: 'from here',
      MILLIBOX_EMPTY: '',
    });
  });

  test('that is not set is refused, and so is one without a name', () => {
    expect(() => envPair('MILLIBOX_NOT_THERE')).toThrow('MILLIBOX_NOT_THERE');
    for (const bad of ['', '=x']) expect(() => envPair(bad)).toThrow();
  });
});

describe('a file', () => {
  test('provides its text without the final line end, otherwise unchanged', () => {
    for (const [text, value] of [
      ['s3cret\n', 's3cret'],
      ['s3cret', 's3cret'],
      ['two\nlines\r\n', 'two\nlines'],
      ['\n\n', '\n'],
      ['', ''],
      ['\ufeffmark', '\ufeffmark'],
    ] as const) {
      expect(filePair(`KEY=${file(text)}`, { A: 'b' })).toEqual({ A: 'b', KEY: value });
    }
  });

  test('may be a pipe', () => {
    const program = `import { filePair } from '${import.meta.dirname}/variables.ts';
      process.stdout.write(filePair('KEY=/dev/stdin').KEY);`;
    const args = [process.execPath, '--input-type=module', '-e', program];
    const got = execFileSync('sh', ['-c', 'echo s3cret | "$@"', 'sh', ...args]);
    expect(got.toString()).toBe('s3cret');
  });

  test('that cannot be a variable is refused by name, without its text', () => {
    for (const bytes of [Buffer.alloc(200_000, 'x'), Buffer.from([0x73, 0xff])]) {
      expect(() => filePair(`KEY=${file(bytes)}`)).toThrow(/value: (more than|not UTF-8)/);
    }
    for (const path of [directory, '/no/such/file', '/dev/zero']) expect(() => filePair(`KEY=${path}`)).toThrow(path);
    for (const bad of ['KEY', 'KEY=', '=/etc/hosts']) expect(() => filePair(bad)).toThrow('NAME=PATH');
  });
});
