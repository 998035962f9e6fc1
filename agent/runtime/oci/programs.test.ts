import { expect, test } from 'vitest';
import { findProgram, mustRun } from './programs.ts';

test('the error for a missing program says where it was looked up, and the alternatives', async () => {
  const missing = findProgram('no-such-program');
  await expect(missing).rejects.toMatchObject({ code: 'not_supported' });
  await expect(missing).rejects.toThrow(/no-such-program[^]*\/usr\/bin[^]*MILLIBOX_RUNTIME/);
  await expect(findProgram('/no/such/program')).rejects.toThrow('/no/such/program');
});

test('the error for a program that cannot run includes the reason', async () => {
  await expect(mustRun('/bin/false')).rejects.toThrow(/\/bin\/false[^]*MILLIBOX_RUNTIME/);
  expect(await findProgram('sh')).toMatch(/\/sh$/);
});
