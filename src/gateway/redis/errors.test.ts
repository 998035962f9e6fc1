import { expect, test } from 'vitest';
import { codeOf, ENDED, reasonOf, refusalOf } from './errors.ts';

test.each([
  ["READONLY You can't write against a read only replica.", 'READONLY'],
  ["OOM command not allowed when used memory > 'maxmemory'. script: 6ab, on @user_script:5.", 'OOM'],
  ['WRONGPASS invalid username-password pair or user is disabled.', 'WRONGPASS'],
  ["NOPERM this user has no permissions to run the 'set' command", 'NOPERM'],
])('a refusal by Redis is recognised by its first word: %s', (message, code) => {
  expect(codeOf(new Error(message))).toBe(code);
  expect(reasonOf(new Error(message))).toContain(`(${code})`);
});

test('a network error is recognised by its code', () => {
  expect(reasonOf(Object.assign(new Error('connect ECONNREFUSED 10.0.0.1:6379'), { code: 'ECONNREFUSED' }))).toBe(
    'ECONNREFUSED',
  );
  expect(reasonOf(new Error('Command timed out'))).toBe('it does not answer');
  expect(reasonOf(new Error('Socket timeout. Expecting data, but did not receive any in 4000ms.'))).toBe(
    'it does not answer',
  );
});

test('no message that quotes what was sent is passed on', () => {
  const quoting = new Error("ERR unknown command 'AUTH', with args beginning with: 'secret' ");
  expect(codeOf(quoting)).toBeNull();
  expect(reasonOf(quoting)).toBe(ENDED);
});

const reply = (message: string): Error => Object.assign(new Error(message), { name: 'ReplyError' });

test.each([
  ["NOPERM User default has no permissions to run the 'evalsha' command", /permissions.*\(NOPERM\)$/],
  ['WRONGTYPE Operation against a key holding the wrong kind of value', /\(WRONGTYPE\)$/],
  ['ERR user_script:12: attempt to compare nil with number script: 6ab, on @user_script:12.', /\(ERR, line 12 of a/],
])("a server's refusal has a reason, without what was sent: %s", (message, reason) => {
  expect(refusalOf(reply(message))).toMatch(reason);
  expect(refusalOf(reply("ERR unknown command 'AUTH', with args beginning with: 'secret' "))).not.toContain('secret');
});

test('an error that is no answer of a server that takes commands is no refusal', () => {
  const full = reply("OOM command not allowed when used memory > 'maxmemory'.");
  for (const error of [new Error('Command timed out'), new Error('ERR x'), full, new TypeError('x'), 'x'])
    expect(refusalOf(error)).toBeNull();
});
