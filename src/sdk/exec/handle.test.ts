/** How a handle on a command behaves towards the code around it. */
import { expect, it, vi } from 'vitest';
import { CommandFailedError } from '../errors.ts';
import { fakeClient } from '../testing/fake-client.ts';

// Generous: a busy machine is ten times slower.
vi.setConfig({ testTimeout: 120_000 });

it('a handle is a promise of its result wherever a promise is accepted', async () => {
  const { exec } = fakeClient((p) => p.exit(3));
  const all: Promise<unknown>[] = [exec('x').then((result) => result.exitCode), exec('x').catch(() => 'never')];
  expect(await Promise.all(all)).toMatchObject([3, { exitCode: 3 }]);
  let over = false;
  const failed = exec('x', { check: true }).finally(() => (over = true));
  await expect(failed).rejects.toThrow(CommandFailedError);
  expect(over).toBe(true);
  expect(await exec('x', { check: true }).catch((error: unknown) => (error as Error).name)).toBe('CommandFailedError');
});

it('with check, a command that timed out has failed, whatever its exit code', async () => {
  const { exec } = fakeClient((p) => p.exit(0, { timedOut: true }));
  expect((await exec('x')).timedOut).toBe(true);
  await expect(exec('x', { check: true })).rejects.toThrow('the command ran into its timeout');
});

it('an invalid command is refused by name', () => {
  const { exec } = fakeClient(() => expect.unreachable());
  for (const wrong of [undefined, 5, {}, { argv: ['a'] }]) {
    expect(() => exec(wrong as never)).toThrow(/a string or a list/);
  }
});
