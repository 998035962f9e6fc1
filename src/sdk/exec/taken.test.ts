/** Commands that were taken over, by somebody or by nobody. */
import { expect, test, vi } from 'vitest';
import { fakeClient } from '../testing/fake-client.ts';

// Generous: a busy machine is ten times slower.
vi.setConfig({ testTimeout: 120_000 });

test('a call of its own that the network brings late takes the command away for a moment only', async () => {
  const { exec, gateway } = fakeClient(async (p) => {
    await p.write('stdout', 'before ');
    await p.stdinEnded;
    await p.write('stdout', 'after');
    p.exit(0);
  });
  const handle = exec('x', { stdin: true });
  await handle.started;
  gateway.unheard = 1;
  gateway.cut();
  await vi.waitFor(() => expect(gateway.unheard).toBe(0), 20_000);
  gateway.cut();
  const running = gateway.execs.get(handle.id)!;
  await vi.waitFor(() => expect(running.listened).toBe(true), 20_000);
  running.takeAway();
  handle.closeStdin();
  expect(await handle).toMatchObject({ exitCode: 0, stdout: 'before after' });
  expect(gateway.starts).toBe(1);
});

test('another that takes the command over keeps it, however often there were cuts', async () => {
  const { exec, gateway } = fakeClient(async (p) => void (await p.stdinEnded));
  const handle = exec('x', { stdin: true });
  await handle.started;
  const running = gateway.execs.get(handle.id)!;
  for (let i = 0; i < 3; i++) {
    gateway.cut();
    await vi.waitFor(() => expect(running.listened).toBe(true), 20_000);
  }
  running.takeAway();
  await expect(handle).rejects.toMatchObject({ code: 'cancelled' });
});
