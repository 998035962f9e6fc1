import crypto, { createHash } from 'node:crypto';
import { beforeEach, expect, test, vi } from 'vitest';
import { spyOfBuiltin } from '../../../test/helpers/spy-of-builtin.ts';
import type { ApiKey } from '../config.ts';
import { assertAdmin, createAuth } from './auth.ts';

const compare = spyOfBuiltin(vi.spyOn(crypto, 'timingSafeEqual'));
beforeEach(() => void compare.mockClear());

const key = (text: string, tenant: string, admin = false): ApiKey => ({
  tenant,
  admin,
  sha256: createHash('sha256').update(text).digest(),
});
const KEYS = [key('first', 'a'), key('second', 'b', true), key('third', 'c')];

test('a key is compared with all configured keys, whichever it matches, even when it matches none', () => {
  const auth = createAuth(KEYS);
  const cost = (text: string): number => {
    compare.mockClear();
    try {
      auth.byKey(text);
    } catch {
      // It matches none.
    }
    return compare.mock.calls.length;
  };
  expect(['first', 'second', 'third', 'none'].map(cost)).toEqual([3, 3, 3, 3]);
});

test("only digests of equal length are compared, whatever the length of the caller's key", () => {
  const auth = createAuth(KEYS);
  for (const text of ['f', 'first', 'firsu', 'first'.repeat(200)]) {
    try {
      auth.byHeader(`Bearer ${text}`);
    } catch {
      // Most of these are no keys.
    }
  }
  expect(compare).toHaveBeenCalledTimes(4 * KEYS.length);
  for (const [ours, theirs] of compare.mock.calls) expect([ours.byteLength, theirs.byteLength]).toEqual([32, 32]);
});

test('a caller is the tenant of its key, with its rights', () => {
  const auth = createAuth(KEYS);
  expect(auth.byHeader('Bearer second')).toEqual({ tenant: 'b', admin: true });
  expect(auth.byHeader('bearer   third ')).toEqual({ tenant: 'c', admin: false });
  expect(() => assertAdmin(auth.byKey('third'))).toThrow(expect.objectContaining({ code: 'forbidden' }));
});

test('only a single bearer key of bounded length is read', () => {
  const auth = createAuth(KEYS);
  const tooLong = `Bearer ${'x'.repeat(1_025)}`;
  for (const header of [undefined, '', 'Bearer', 'Bearer ', 'Basic first', 'first', 'Bearer first second', tooLong]) {
    expect(() => auth.byHeader(header)).toThrow(expect.objectContaining({ code: 'unauthenticated' }));
  }
  expect(compare).not.toHaveBeenCalled();
});

test('a caller whose key was withdrawn, or now has other rights, is no longer valid', () => {
  const auth = createAuth(KEYS);
  const replaced = vi.fn();
  auth.onReplace(replaced);
  const [first, second, third] = ['first', 'second', 'third'].map((text) => auth.byKey(text));
  auth.replace([key('first', 'a'), key('second', 'b', false)]);
  expect(replaced).toHaveBeenCalledOnce();
  expect([first, second, third].map((caller) => caller !== undefined && auth.isValid(caller))).toEqual([
    true,
    false,
    false,
  ]);
});
