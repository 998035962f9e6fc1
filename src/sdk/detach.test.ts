import { expect, test, vi } from 'vitest';
import { fakeClient } from './testing/fake-client.ts';

// Generous: a busy machine is ten times slower.
vi.setConfig({ testTimeout: 120_000 });

const turns = async (n = 5): Promise<void> => {
  for (let i = 0; i < n; i++) await new Promise((resolve) => setImmediate(resolve));
};

test('waits until the command has received all of its stdin, over a link that is cut meanwhile', async () => {
  const { exec, gateway } = fakeClient(() => undefined);
  const stdin = Buffer.alloc(1_500_000, 'abcdefg');
  const handle = exec('x', { stdin: true });
  void handle.write(stdin);
  await handle.started;
  const detached = handle.detach();
  gateway.cut();
  await detached;
  await expect(handle.result).rejects.toMatchObject({ code: 'cancelled' });
  const [running] = gateway.execs.values();
  expect(Buffer.concat(running?.stdin ?? []).equals(stdin)).toBe(true);
  expect(gateway.starts).toBe(1);
});

test('waits for a source of stdin, and for its end to arrive', async () => {
  const { exec, gateway } = fakeClient(() => undefined);
  async function* source() {
    for (let i = 0; i < 20; i++) {
      await turns();
      yield 'x'.repeat(10_000);
    }
  }
  const handle = exec('x', { stdin: source() });
  await handle.detach();
  const [running] = gateway.execs.values();
  expect((await running?.stdinEnded)?.length).toBe(200_000);
});

test('rejects at its deadline when the command does not take its stdin, and stays attached', async () => {
  const { exec, gateway } = fakeClient(() => undefined);
  async function* endless() {
    for (;;) {
      await turns();
      yield 'x';
    }
  }
  const handle = exec('x', { stdin: endless() });
  await handle.started;
  await expect(handle.detach({ deadlineMs: 50 })).rejects.toMatchObject({ code: 'deadline_exceeded' });
  const [running] = gateway.execs.values();
  running?.exit(3);
  expect((await handle.exit).exitCode).toBe(3);
});

test('does not cancel a command that has not started yet', async () => {
  const gate = Promise.withResolvers<void>();
  const { exec, gateway } = fakeClient(() => undefined);
  gateway.beforeStart = () => gate.promise;
  const handle = exec('x');
  const detached = handle.detach();
  gate.resolve();
  await detached;
  expect(gateway.starts).toBe(1);
});
