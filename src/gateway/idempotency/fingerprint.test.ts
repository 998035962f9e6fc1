import { expect, test } from 'vitest';
import * as z from 'zod';
import { CreateSandboxRequest } from '../../protocol/sandbox.ts';
import { fingerprintOf, formOf } from './fingerprint.ts';

const printOf = (request: unknown): string => fingerprintOf({ scope: 's', key: 'k', request }).print;

test('a fingerprint is independent of member order at every depth, and distinguishes everything else', () => {
  const print = printOf({ a: 1, b: { c: [1, 2], d: null }, 2: 'x' });
  expect(printOf({ 2: 'x', b: { d: null, c: [1, 2] }, a: 1, gone: undefined })).toBe(print);
  for (const other of [
    { a: 1, b: { c: [2, 1], d: null }, 2: 'x' },
    { a: '1', b: { c: [1, 2], d: null }, 2: 'x' },
    { a: 1, b: { c: [1, 2] }, 2: 'x' },
  ]) {
    expect(printOf(other)).not.toBe(print);
  }
});

test('another field, default or bound makes another form', () => {
  const form = formOf(z.object({ a: z.string(), b: z.int().default(1) }));
  expect(formOf(z.object({ a: z.string(), b: z.int().default(1) }))).toBe(form);
  const others = [
    z.object({ a: z.string(), b: z.int().default(2) }),
    z.object({ a: z.string().max(5), b: z.int().default(1) }),
    z.object({ a: z.string(), b: z.int().default(1), c: z.string().optional() }),
  ];
  for (const other of others) expect(formOf(other)).not.toBe(form);
  expect(formOf(CreateSandboxRequest)).toMatch(/^.{16}$/);
});
