/** Commands that are killed while they cannot be reached, or before they are known to run. */
import { expect, test, vi } from 'vitest';
import { fakeClient } from '../testing/fake-client.ts';
import type { FakeProgram } from '../testing/fake-gateway.ts';

// Generous: a busy machine is ten times slower.
vi.setConfig({ testTimeout: 120_000 });

const untilKilled: FakeProgram = async (p) => {
  await p.killed;
  p.exit(143, { signal: 'TERM' });
};

/** Everything that is due has happened. */
const turns = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 50));

/** A link that lost its first call, and cannot be redialled before `back`. */
async function lost(program: FakeProgram) {
  const { exec, gateway } = fakeClient(program);
  gateway.unanswered = 1;
  const handle = exec('x');
  await vi.waitFor(() => expect(gateway.unanswered).toBe(0), 20_000);
  let away = true;
  gateway.onDial = () => {
    if (away) throw new Error('away');
  };
  const { dials } = gateway;
  gateway.cut();
  await vi.waitFor(() => expect(gateway.dials).toBeGreaterThan(dials), 20_000);
  return { handle, gateway, back: () => void (away = false) };
}

test('a command is not started by attaching to it in order to kill it', async () => {
  const { handle, gateway, back } = await lost(untilKilled);
  handle.kill();
  back();
  await expect(handle).rejects.toMatchObject({ code: 'cancelled', message: 'the command was killed before it ran' });
  expect(gateway.starts).toBe(0);
});

test('a command that started although its answer was lost is found and killed', async () => {
  const { exec, gateway } = fakeClient(untilKilled);
  gateway.beforeStart = () => {
    gateway.beforeStart = () => undefined;
    gateway.cut();
  };
  const handle = exec('x');
  await vi.waitFor(() => expect(gateway.starts).toBe(1), 20_000);
  handle.kill();
  expect(await handle).toMatchObject({ exitCode: 143 });
  expect(gateway.starts).toBe(1);
});

test('a command that is killed before any of it was sent is never sent', async () => {
  const sandbox = Promise.withResolvers<string>();
  const { exec, gateway } = fakeClient(untilKilled, sandbox.promise);
  const handle = exec('x');
  handle.kill();
  sandbox.resolve('sbx-1');
  await expect(handle).rejects.toMatchObject({ code: 'cancelled' });
  await turns();
  expect(gateway.execs.size).toBe(0);
});

test('of signals waiting for a command none is lost silently', async () => {
  const { handle, back } = await lost(async (p) => {
    await vi.waitFor(() => expect(p.commands).toHaveLength(64), 20_000);
    p.exit(0);
  });
  for (let sent = 0; sent < 64; sent++) handle.signal('USR1');
  expect(() => handle.signal('USR1')).toThrow(expect.objectContaining({ code: 'rate_limited' }) as Error);
  back();
  expect((await handle).exitCode).toBe(0);
});
