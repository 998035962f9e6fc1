/** Limits given in bytes count bytes of UTF-8, and exceeding one has one error code, whatever the text. */
import { expect, test } from 'vitest';
import { ExecOpen, ExecRequest } from './exec.ts';
import { MAX_ARG_BYTES, MAX_BLOCKING_STDIN_BYTES, MAX_SCRIPT_BYTES } from './limits.ts';

const STRAY = '\udcff';

const takes = (fields: object): boolean => ExecRequest.safeParse(fields).success;
const opens = (fields: object): boolean => ExecOpen.safeParse({ op: 'exec', sandbox: 'sbx-0123', ...fields }).success;

/** A text of this many bytes, in characters as long as the sample's. */
const textOf = (sample: string, bytes: number): string =>
  sample.repeat(Math.floor(bytes / Buffer.byteLength(sample))) + 'x'.repeat(bytes % Buffer.byteLength(sample));

test.each(['x', 'é', '漢', '😀'])('an argument of %s has as many bytes as the kernel takes, and no more', (sample) => {
  for (const accepts of [takes, opens]) {
    expect(accepts({ argv: ['echo', textOf(sample, MAX_ARG_BYTES)] })).toBe(true);
    expect(accepts({ argv: ['echo', textOf(sample, MAX_ARG_BYTES + 1)] })).toBe(false);
  }
});

test.each(['x', 'é', '漢', '😀'])('a variable of %s has as many, its name included', (sample) => {
  const room = MAX_ARG_BYTES - 'A='.length;
  for (const accepts of [takes, opens]) {
    expect(accepts({ argv: ['env'], env: { A: textOf(sample, room) } })).toBe(true);
    expect(accepts({ argv: ['env'], env: { A: textOf(sample, room + 1) } })).toBe(false);
  }
});

test.each(['x', 'é', '😀'])('a script of %s has its limit in bytes', (sample) => {
  expect(takes({ command: textOf(sample, MAX_SCRIPT_BYTES) })).toBe(true);
  expect(takes({ command: textOf(sample, MAX_SCRIPT_BYTES + 1) })).toBe(false);
});

test.each(['x', 'é', '😀'])('stdin as text of %s has its limit in bytes', (sample) => {
  expect(takes({ command: 'cat', stdin: textOf(sample, MAX_BLOCKING_STDIN_BYTES) })).toBe(true);
  expect(takes({ command: 'cat', stdin: textOf(sample, MAX_BLOCKING_STDIN_BYTES + 1) })).toBe(false);
});

test('stdin in base64 has the same limit, on the decoded bytes', () => {
  const base64 = (bytes: number) => ({
    command: 'cat',
    encoding: 'base64',
    stdin: Buffer.alloc(bytes).toString('base64'),
  });
  expect(takes(base64(MAX_BLOCKING_STDIN_BYTES))).toBe(true);
  expect(takes(base64(MAX_BLOCKING_STDIN_BYTES + 1))).toBe(false);
  expect(takes(base64(MAX_BLOCKING_STDIN_BYTES + 2))).toBe(false);
});

test('a stray byte counts as one', () => {
  expect(takes({ argv: ['echo', STRAY.repeat(MAX_ARG_BYTES)] })).toBe(true);
  expect(takes({ argv: ['echo', STRAY.repeat(MAX_ARG_BYTES + 1)] })).toBe(false);
});
