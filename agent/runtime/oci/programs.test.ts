import { expect, test } from 'vitest';
import { findProgram, mustRun } from './programs.ts';

test('whoever lacks a program is told where it is looked for and what else can be done', async () => {
  const missing = findProgram('no-such-program');
  await expect(missing).rejects.toMatchObject({ code: 'not_supported' });
  await expect(missing).rejects.toThrow(/no-such-program[^]*\/usr\/bin[^]*MILLIBOX_RUNTIME/);
  await expect(findProgram('/no/such/program')).rejects.toThrow('/no/such/program');
});

test('a program that cannot be run is told with its own reason', async () => {
  await expect(mustRun('/bin/false')).rejects.toThrow(/\/bin\/false[^]*MILLIBOX_RUNTIME/);
  expect(await findProgram('sh')).toMatch(/\/sh$/);
});
